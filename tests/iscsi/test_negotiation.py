from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsitools.iscsi.errors import LoginError
from iscsitools.iscsi.login.negotiation import Negotiator
from iscsitools.iscsi.login.parameters import NegotiationLimits, Parameters
from iscsitools.wire.keys import KEYS, Rule, Type, When
from iscsitools.wire.rfc7143 import LoginStatus

LIMITS = NegotiationLimits(
    max_burst_length=131072,
    first_burst_length=65536,
    default_time2wait=5,
    default_time2retain=10,
    max_outstanding_r2t=4,
)


def negotiate(*pairs, limits=LIMITS, stage=When.OPERATIONAL, **kwargs):
    negotiator = Negotiator(limits, **kwargs)
    return negotiator, negotiator.receive(list(pairs), stage)


# (key, offer, answer, field, result)
TABLE = [
    ("HeaderDigest", "CRC32C,None", "CRC32C", "header_digest", True),
    ("HeaderDigest", "None,CRC32C", "None", "header_digest", False),
    ("HeaderDigest", "X-SHA1,CRC32C", "CRC32C", "header_digest", True),
    ("HeaderDigest", "X-SHA1", "Reject", "header_digest", False),
    ("HeaderDigest", "", "Reject", "header_digest", False),
    ("DataDigest", "CRC32C", "CRC32C", "data_digest", True),
    ("DataDigest", "None", "None", "data_digest", False),
    ("MaxConnections", "8", "1", "max_connections", 1),
    ("MaxConnections", "0", "Reject", "max_connections", 1),
    ("MaxConnections", "65536", "Reject", "max_connections", 1),
    ("InitialR2T", "No", "No", "initial_r2t", False),
    ("InitialR2T", "Yes", "Yes", "initial_r2t", True),
    ("InitialR2T", "Maybe", "Reject", "initial_r2t", True),
    ("ImmediateData", "Yes", "Yes", "immediate_data", True),
    ("ImmediateData", "No", "No", "immediate_data", False),
    ("MaxBurstLength", "16776192", "131072", "max_burst_length", 131072),
    ("MaxBurstLength", "512", "512", "max_burst_length", 512),
    ("MaxBurstLength", "0x1000", "4096", "max_burst_length", 4096),
    ("MaxBurstLength", "511", "Reject", "max_burst_length", 262144),
    ("MaxBurstLength", "16777216", "Reject", "max_burst_length", 262144),
    ("MaxBurstLength", "1e6", "Reject", "max_burst_length", 262144),
    ("FirstBurstLength", "262144", "65536", "first_burst_length", 65536),
    ("FirstBurstLength", "1024", "1024", "first_burst_length", 1024),
    ("DefaultTime2Wait", "0", "5", "default_time2wait", 5),
    ("DefaultTime2Wait", "3600", "3600", "default_time2wait", 3600),
    ("DefaultTime2Wait", "3601", "Reject", "default_time2wait", 2),
    ("DefaultTime2Retain", "0", "0", "default_time2retain", 0),
    ("DefaultTime2Retain", "100", "10", "default_time2retain", 10),
    ("MaxOutstandingR2T", "1", "1", "max_outstanding_r2t", 1),
    ("MaxOutstandingR2T", "65535", "4", "max_outstanding_r2t", 4),
    ("DataPDUInOrder", "No", "Yes", "data_pdu_in_order", True),
    ("DataSequenceInOrder", "No", "Yes", "data_sequence_in_order", True),
    ("ErrorRecoveryLevel", "2", "0", "error_recovery_level", 0),
    ("ErrorRecoveryLevel", "3", "Reject", "error_recovery_level", 0),
    ("TaskReporting", "FastAbort,ResponseFence,RFC3720", "ResponseFence", "task_reporting", "ResponseFence"),
    ("TaskReporting", "FastAbort", "Reject", "task_reporting", "RFC3720"),
    ("iSCSIProtocolLevel", "2", "1", "protocol_level", 1),
    ("iSCSIProtocolLevel", "0", "0", "protocol_level", 0),
    ("iSCSIProtocolLevel", "32", "Reject", "protocol_level", 1),
    ("IFMarker", "Yes", "No", None, None),
    ("OFMarker", "No", "No", None, None),
    ("IFMarkInt", "2048~8192", "Reject", None, None),
    ("OFMarkInt", "2048", "Reject", None, None),
    ("X-com.example.key", "1", "NotUnderstood", None, None),
    ("X#NodeArchitecture", "x86", "NotUnderstood", None, None),
    ("maxburstlength", "512", "NotUnderstood", None, None),
    ("AuthMethod", "CHAP", "Reject", None, None),
]


@pytest.mark.parametrize(("key", "offer", "answer", "field", "result"), TABLE)
def test_offer(key, offer, answer, field, result):
    negotiator, answers = negotiate((key, offer))
    assert answers == [(key, answer)]
    if field is not None:
        assert getattr(negotiator.parameters, field) == result


def test_every_negotiated_key_has_a_row():
    assert {row[0] for row in TABLE} >= {
        key.name for key in KEYS.values() if key.rule not in (Rule.DECLARATIVE, Rule.AUTHENTICATION)
    }


def test_a_limit_of_no_makes_data_out_of_order_possible():
    limits = NegotiationLimits(data_pdu_in_order=False, data_sequence_in_order=False, initial_r2t=True)
    offers = [("DataPDUInOrder", "No"), ("DataSequenceInOrder", "Yes"), ("InitialR2T", "No")]
    negotiator, answers = negotiate(*offers, limits=limits)
    assert answers == [("DataPDUInOrder", "No"), ("DataSequenceInOrder", "Yes"), ("InitialR2T", "Yes")]
    assert not negotiator.parameters.data_pdu_in_order


def test_answers_keep_the_order_of_the_offers():
    offers = [("FirstBurstLength", "1024"), ("X-a", "1"), ("MaxBurstLength", "2048"), ("InitiatorAlias", "me")]
    _, answers = negotiate(*offers)
    assert answers == [("FirstBurstLength", "1024"), ("X-a", "NotUnderstood"), ("MaxBurstLength", "2048")]


def test_first_burst_is_irrelevant_without_unsolicited_data_whatever_the_order():
    offers = [("FirstBurstLength", "65536"), ("InitialR2T", "Yes"), ("ImmediateData", "No")]
    _, answers = negotiate(*offers)
    assert answers == [("FirstBurstLength", "Irrelevant"), ("InitialR2T", "Yes"), ("ImmediateData", "No")]


@pytest.mark.parametrize(
    "offers", [[("MaxBurstLength", "8192")], [("MaxBurstLength", "512"), ("FirstBurstLength", "65536")]]
)
def test_first_burst_is_never_above_max_burst(offers):
    negotiator, _ = negotiate(*offers)
    p = negotiator.finish()
    assert p.first_burst_length == p.max_burst_length == int(offers[0][1])


@pytest.mark.parametrize("name", [key.name for key in KEYS.values() if key.normal_only])
def test_irrelevant_in_discovery(name):
    _, answers = negotiate((name, "1"), discovery=True)
    assert answers == [(name, "Irrelevant")]


@pytest.mark.parametrize("name", ["DefaultTime2Wait", "DefaultTime2Retain", "ErrorRecoveryLevel"])
def test_relevant_in_discovery(name):
    _, answers = negotiate((name, "0"), discovery=True)
    assert answers[0][1].isdigit()


def test_operational_keys_have_no_place_in_the_security_stage():
    negotiator, answers = negotiate(("MaxBurstLength", "512"), ("X-a", "1"), stage=When.SECURITY)
    assert answers == [("MaxBurstLength", "Reject"), ("X-a", "NotUnderstood")]
    assert negotiator.parameters.max_burst_length == 262144


def test_session_keys_have_no_place_on_a_second_connection():
    _, answers = negotiate(("MaxBurstLength", "512"), ("HeaderDigest", "CRC32C"), leading=False)
    assert answers == [("MaxBurstLength", "Reject"), ("HeaderDigest", "CRC32C")]


@pytest.mark.parametrize(
    "pairs",
    [
        [("MaxBurstLength", "Reject")],
        [("X-a", "NotUnderstood")],
        [("InitialR2T", "Irrelevant")],
        [("TargetPortalGroupTag", "1")],
        [("TargetAddress", "[::1]:3260,1")],
        [("TargetAlias", "x")],
        [("SendTargets", "All")],
        [("MaxRecvDataSegmentLength", "511")],
        [("MaxRecvDataSegmentLength", "16777216")],
        [("MaxRecvDataSegmentLength", "")],
    ],
)
def test_breaks_the_rules(pairs):
    with pytest.raises(LoginError) as caught:
        negotiate(*pairs)
    assert caught.value.status is LoginStatus.INITIATOR_ERROR


def test_a_key_is_negotiated_once():
    negotiator, _ = negotiate(("MaxBurstLength", "4096"))
    with pytest.raises(LoginError, match="a second time"):
        negotiator.receive([("MaxBurstLength", "4096")], When.OPERATIONAL)


def test_a_declaration_may_be_repeated_but_not_changed():
    negotiator, _ = negotiate(("InitiatorAlias", "a"), ("MaxRecvDataSegmentLength", "65536"))
    assert negotiator.receive([("InitiatorAlias", "a")], When.OPERATIONAL) == []
    assert negotiator.parameters.initiator_max_recv_data_segment_length == 65536
    with pytest.raises(LoginError, match="differently"):
        negotiator.receive([("InitiatorAlias", "b")], When.OPERATIONAL)


def test_our_declaration_comes_once():
    negotiator = Negotiator(NegotiationLimits(max_recv_data_segment_length=65536))
    assert negotiator.declare() == [("MaxRecvDataSegmentLength", "65536")]
    assert negotiator.declare() == []
    assert negotiator.finish().max_recv_data_segment_length == 65536


def test_what_the_default_leaves_beyond_the_limits_is_offered():
    limits = NegotiationLimits(immediate_data=False, max_burst_length=65536, default_time2wait=5)
    negotiator = Negotiator(limits)
    assert negotiator.offer() == [("ImmediateData", "No"), ("MaxBurstLength", "65536"), ("DefaultTime2Wait", "5")]
    assert not negotiator.settled
    given = [("ImmediateData", "No"), ("MaxBurstLength", "4096"), ("DefaultTime2Wait", "10")]
    assert negotiator.receive(given, When.OPERATIONAL) == []
    assert negotiator.settled
    p = negotiator.finish()
    assert (p.immediate_data, p.max_burst_length, p.default_time2wait) == (False, 4096, 10)
    assert negotiator.offer() == []


@pytest.mark.parametrize("answer", ["Yes", "Reject", "NotUnderstood", "maybe"])
def test_an_answer_beyond_our_offer_ends_the_login(answer):
    negotiator = Negotiator(NegotiationLimits(immediate_data=False))
    assert negotiator.offer() == [("ImmediateData", "No")]
    with pytest.raises(LoginError, match="does not answer No"):
        negotiator.receive([("ImmediateData", answer)], When.OPERATIONAL)


def test_irrelevant_is_an_answer():
    negotiator = Negotiator(NegotiationLimits(immediate_data=False))
    negotiator.offer()
    assert negotiator.receive([("ImmediateData", "Irrelevant")], When.OPERATIONAL) == []
    assert negotiator.settled


def test_a_required_digest_is_not_given_up():
    limits = NegotiationLimits(header_digest=("CRC32C",))
    with pytest.raises(LoginError, match="acceptable"):
        negotiate(("HeaderDigest", "None"), limits=limits)
    negotiator = Negotiator(limits)
    assert negotiator.offer() == [("HeaderDigest", "CRC32C")]
    negotiator.receive([("HeaderDigest", "CRC32C")], When.OPERATIONAL)
    assert negotiator.parameters.header_digest


def test_table_parameters_and_limits_belong_together():
    negotiated = {key.attribute for key in KEYS.values() if key.attribute}
    assert negotiated == {f.name for f in fields(NegotiationLimits) if f.init}
    assert negotiated | {"initiator_max_recv_data_segment_length"} == {f.name for f in fields(Parameters)}
    for key in KEYS.values():
        if key.type is Type.NUMBER:
            assert key.low <= int(key.default) <= key.high
            assert str(getattr(Parameters(), key.attribute)) == key.default


def test_what_nobody_says_is_as_the_standard_has_it():
    p, limits = Parameters(), NegotiationLimits()
    assert (p.header_digest, p.data_digest, p.initiator_max_recv_data_segment_length) == (False, False, 8192)
    for each in (p, limits):
        assert (each.data_pdu_in_order, each.data_sequence_in_order) == (True, True)


NAMES = st.one_of(st.sampled_from(list(KEYS)), st.text(max_size=10))
VALUES = st.one_of(
    st.sampled_from(["Yes", "No", "None", "CRC32C", "Reject", "Irrelevant", "", "1,2", "0x10", "1~2"]),
    st.integers(-1, 1 << 70).map(str),
    st.text(max_size=10),
)


@given(
    st.lists(st.lists(st.tuples(NAMES, VALUES), max_size=8, unique_by=lambda pair: pair[0]), max_size=4),
    st.sampled_from([When.SECURITY, When.OPERATIONAL]),
    st.booleans(),
    st.booleans(),
)
def test_anything_gives_answers_or_a_login_error(rounds, stage, discovery, leading):
    negotiator = Negotiator(LIMITS, discovery=discovery, leading=leading)
    try:
        for pairs in rounds:
            for name, _ in negotiator.receive(pairs, stage):
                assert name in dict(pairs)
            negotiator.offer()
    except LoginError:
        return
    p = negotiator.finish()
    assert 512 <= p.first_burst_length <= p.max_burst_length < 1 << 24
    assert p.error_recovery_level == 0
    assert p.max_connections == 1
