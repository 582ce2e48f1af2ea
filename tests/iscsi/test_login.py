from __future__ import annotations

import pytest

from iscsi.login_support import (
    DEVICE,
    FULL,
    INITIATOR,
    ISID,
    OPERATIONAL,
    SECURITY,
    TARGET,
    Admission,
    directory,
    engine,
    failed,
    header,
    keys_of,
    names,
    request,
)
from iscsitools.iscsi.errors import ProtocolError
from iscsitools.iscsi.login.access import AccessList, LunMap
from iscsitools.iscsi.login.messages import LoginRequest
from iscsitools.iscsi.login.parameters import NegotiationLimits
from iscsitools.iscsi.login.policy import Portal, TargetNode
from iscsitools.iscsi.text_pairs import encode_pairs
from iscsitools.wire.rfc7143 import LoginStatus


@pytest.mark.parametrize(
    ("bhs", "fields"),
    [
        (header(0), LoginRequest(False, False, 0, 0, 0, 0, ISID, 0, 0x11, 1)),
        (
            "43 87 01 02 00 000000 400001370000 1234 89abcdef 0102 0000" + "00" * 24,
            LoginRequest(True, False, 1, 3, 1, 2, bytes.fromhex("400001370000"), 0x1234, 0x89ABCDEF, 0x0102),
        ),
        (header(0, opcode=0xC3), LoginRequest(False, False, 0, 0, 0, 0, ISID, 0, 0x11, 1)),  # a reserved bit
        (
            "43 40 00 00 00 000000 800000000001 0000 00000000 0000 0000" + "00" * 24,
            LoginRequest(False, True, 0, 0, 0, 0, bytes.fromhex("800000000001"), 0, 0, 0),
        ),
    ],
)
def test_header(bhs, fields):
    assert LoginRequest.parse(bytes.fromhex(bhs) if isinstance(bhs, str) else bhs) == fields


@pytest.mark.parametrize(
    "bhs", [b"", header(0)[:47], header(0) + b"\0", header(0, opcode=0x03), header(0, opcode=0x41)]
)
def test_not_a_login_request(bhs):
    with pytest.raises(ProtocolError):
        engine().on_request(bhs, b"")


def test_both_stages():
    login = engine(alias="The disks", portals=(Portal("192.0.2.1", 3260, 5),))
    reply = request(login, SECURITY, OPERATIONAL, names(AuthMethod="CHAP,None", InitiatorAlias="me"))
    assert keys_of(reply) == {"TargetPortalGroupTag": "5", "TargetAlias": "The disks", "AuthMethod": "None"}
    assert (reply.flags, reply.tsih, reply.done) == (0x81, 0, False)
    reply = request(login, OPERATIONAL, FULL, names(MaxBurstLength="4096", MaxRecvDataSegmentLength="65536"))
    assert keys_of(reply) == {"MaxBurstLength": "4096", "MaxRecvDataSegmentLength": "262144"}
    assert (reply.flags, reply.tsih, reply.done) == (0x87, 1, True)
    result = reply.result
    assert (result.initiator, result.initiator_alias, result.isid) == (INITIATOR, "me", ISID)
    assert (result.tsih, result.cid, result.leading, result.discovery) == (1, 1, True, False)
    assert (result.target.name, result.target.device, result.chap_user) == (TARGET, DEVICE, "")
    p = result.parameters
    assert (p.max_burst_length, p.first_burst_length) == (4096, 4096)
    assert (p.max_recv_data_segment_length, p.initiator_max_recv_data_segment_length) == (262144, 65536)


def test_from_the_operational_stage_in_one_request():
    reply = request(engine(), OPERATIONAL, FULL, names(HeaderDigest="CRC32C,None"))
    assert reply.result.parameters.header_digest
    assert keys_of(reply)["TargetPortalGroupTag"] == "1"


def test_from_the_security_stage_straight_to_full_feature():
    reply = request(engine(), SECURITY, FULL, names())
    assert reply.flags == 0x83
    assert keys_of(reply) == {"TargetPortalGroupTag": "1", "MaxRecvDataSegmentLength": "262144"}
    assert reply.result.parameters.max_recv_data_segment_length == 262144


def test_the_stage_stays_without_transit():
    login = engine()
    assert request(login, SECURITY, None, names()).flags == 0
    assert request(login, SECURITY, None, {"AuthMethod": "None"}).flags == 0
    assert request(login, SECURITY, OPERATIONAL).flags == 0x81
    assert request(login, OPERATIONAL, None, {"InitialR2T": "No"}).flags == 0x04
    reply = request(login, OPERATIONAL, FULL)
    assert reply.data == b""
    assert not reply.result.parameters.initial_r2t


def test_discovery():
    login = engine()
    keys = {"InitiatorName": INITIATOR, "SessionType": "Discovery", "MaxBurstLength": "4096", "DataDigest": "CRC32C"}
    reply = request(login, OPERATIONAL, FULL, keys)
    assert reply.result.discovery
    assert reply.result.tsih == 1
    assert keys_of(reply) == {
        "MaxBurstLength": "Irrelevant",
        "DataDigest": "CRC32C",
        "MaxRecvDataSegmentLength": "262144",
    }


def test_target_names_are_compared_after_normalisation():
    assert request(engine(), OPERATIONAL, FULL, names(TargetName=TARGET.upper())).result.target.name == TARGET


def test_initiator_names_are_normalised():
    assert request(engine(), OPERATIONAL, FULL, names(InitiatorName=INITIATOR.upper())).result.initiator == INITIATOR


@pytest.mark.parametrize(
    ("keys", "status"),
    [
        ({}, LoginStatus.MISSING_PARAMETER),
        ({"InitiatorName": ""}, LoginStatus.MISSING_PARAMETER),
        ({"TargetName": TARGET}, LoginStatus.MISSING_PARAMETER),
        ({"InitiatorName": INITIATOR}, LoginStatus.MISSING_PARAMETER),
        ({"InitiatorName": INITIATOR, "SessionType": "Normal", "TargetName": ""}, LoginStatus.MISSING_PARAMETER),
        (names(InitiatorName="i" * 224), LoginStatus.INITIATOR_ERROR),
        (names(InitiatorName="iqn.\x07"), LoginStatus.INITIATOR_ERROR),
        (names(InitiatorName="iqn.a tsih=7"), LoginStatus.INITIATOR_ERROR),
        (names(SessionType="Other"), LoginStatus.SESSION_TYPE_NOT_SUPPORTED),
        (names(TargetName="iqn.2026-11.example:other"), LoginStatus.NOT_FOUND),
        (names(MaxRecvDataSegmentLength="1"), LoginStatus.INITIATOR_ERROR),
        (names(InitialR2T="Reject"), LoginStatus.INITIATOR_ERROR),
        (names(SendTargets="All"), LoginStatus.INITIATOR_ERROR),
    ],
)
@pytest.mark.parametrize("csg", [SECURITY, OPERATIONAL])
def test_first_request_refused(keys, status, csg):
    login = engine()
    failed(request(login, csg, FULL, keys), status)
    with pytest.raises(ProtocolError):
        request(login, csg, FULL, names())


def test_access_list():
    failed(
        request(engine(access=AccessList(("iqn.2026-11.example:other*",))), OPERATIONAL, FULL, names()),
        LoginStatus.NOT_FOUND,
    )
    assert request(engine(access=AccessList(("nobody", "IQN.2026-11.example:h?st"))), OPERATIONAL, FULL, names()).result


@pytest.mark.parametrize(
    ("kept_out", "reason"),
    [
        ({"access": AccessList(("iqn.2026-11.example:other",))}, "its name is none of the target's initiators"),
        ({"access": AccessList((), ("192.0.2.0/24",))}, "127.0.0.1 is in none of the target's networks"),
        ({"maps": (LunMap(AccessList(("iqn.2026-11.example:other",))),)}, "it sees no unit by the target's maps"),
        ({"maps": (LunMap(luns={}),)}, "it sees no unit by the target's maps"),
    ],
    ids=["name", "network", "no map", "empty map"],
)
def test_the_log_gets_the_true_reason_and_the_initiator_the_same_status(kept_out, reason):
    reply = request(engine(address="127.0.0.1", **kept_out), OPERATIONAL, FULL, names())
    failed(reply, LoginStatus.NOT_FOUND)
    assert reply.message == f"{INITIATOR} may not log in to {TARGET}: {reason}"
    assert reply.data == b""


def test_removed_target():
    where = directory()
    where.remove(TARGET)
    failed(request(engine(directory=where), OPERATIONAL, FULL, names()), LoginStatus.TARGET_REMOVED)
    where.add(TargetNode(TARGET, DEVICE))
    assert request(engine(directory=where), OPERATIONAL, FULL, names()).result


def test_a_target_is_reached_by_its_portals_only():
    portals = (Portal("192.0.2.1", 3261), Portal("::1", 3260))
    reply = request(engine(portals=portals), OPERATIONAL, FULL, names())
    failed(reply, LoginStatus.NOT_FOUND)
    assert reply.message == f"target {TARGET} is not at 192.0.2.1:3260"
    assert request(engine(portals=portals, local=Portal("0:0::1", 3260)), OPERATIONAL, FULL, names()).result


@pytest.mark.parametrize(
    ("kwargs", "status"),
    [
        ({"csg": 0, "nsg": 0}, LoginStatus.INITIATOR_ERROR),
        ({"csg": 0, "nsg": 2}, LoginStatus.INITIATOR_ERROR),
        ({"csg": 1, "nsg": 0}, LoginStatus.INITIATOR_ERROR),
        ({"csg": 1, "nsg": 1}, LoginStatus.INITIATOR_ERROR),
        ({"csg": 2, "nsg": 3}, LoginStatus.INITIATOR_ERROR),
        ({"csg": 3, "nsg": 3}, LoginStatus.INITIATOR_ERROR),
        ({"csg": 3}, LoginStatus.INITIATOR_ERROR),
        ({"csg": 0, "nsg": 1, "more": True}, LoginStatus.INITIATOR_ERROR),
        ({"csg": 0, "nsg": 1, "version_min": 1}, LoginStatus.UNSUPPORTED_VERSION),
        ({"csg": 0, "nsg": 1, "tsih": 8}, LoginStatus.SESSION_DOES_NOT_EXIST),
        ({"csg": 0, "nsg": 1, "tsih": 7, "isid": bytes(6)}, LoginStatus.SESSION_DOES_NOT_EXIST),
        ({"csg": 0, "nsg": 1, "tsih": 7, "cid": 2}, LoginStatus.TOO_MANY_CONNECTIONS),
    ],
)
def test_header_refused(kwargs, status):
    failed(engine().on_request(header(**kwargs), encode_pairs(names().items())), status)


@pytest.mark.parametrize("changed", [{"isid": bytes(6)}, {"tsih": 7}, {"cid": 2}])
def test_the_connection_stays_who_it_is(changed):
    login = engine()
    request(login, SECURITY, OPERATIONAL, names())
    failed(request(login, OPERATIONAL, FULL, **changed), LoginStatus.INITIATOR_ERROR, "changed")


@pytest.mark.parametrize("csg", [SECURITY, FULL])
def test_the_stage_is_what_was_agreed(csg):
    login = engine()
    request(login, SECURITY, OPERATIONAL, names())
    failed(request(login, csg), LoginStatus.INITIATOR_ERROR, "expected 1")


def test_joining_a_session():
    reply = request(engine(), OPERATIONAL, FULL, names(MaxBurstLength="4096"), tsih=7)
    assert (reply.result.tsih, reply.result.leading, reply.tsih) == (7, False, 7)
    assert keys_of(reply)["MaxBurstLength"] == "Reject"


def test_no_tsih_left():
    sessions = Admission()
    sessions.next = 4
    failed(request(engine(admission=sessions), OPERATIONAL, FULL, names()), LoginStatus.OUT_OF_RESOURCES)


def test_an_offer_of_ours_holds_the_stage_until_it_is_answered():
    login = engine(limits=NegotiationLimits(immediate_data=False))
    reply = request(login, OPERATIONAL, FULL, names())
    assert keys_of(reply)["ImmediateData"] == "No"
    assert reply.flags == 0x04
    reply = request(login, OPERATIONAL, FULL, {"ImmediateData": "No"})
    assert reply.data == b""
    assert not reply.result.parameters.immediate_data


def test_an_offer_of_ours_that_is_passed_over():
    login = engine(limits=NegotiationLimits(immediate_data=False))
    request(login, OPERATIONAL, FULL, names())
    failed(request(login, OPERATIONAL, FULL), LoginStatus.INITIATOR_ERROR, "not answered")


# -- what other targets take too


@pytest.mark.parametrize(
    ("key", "value"),
    [("HeaderDigest", "None"), ("InitialR2T", "No"), ("ErrorRecoveryLevel", "0"), ("MaxBurstLength", "262144")],
)
def test_a_key_that_came_too_early_may_come_again_in_its_stage(key, value):
    login = engine()
    early = request(login, SECURITY, OPERATIONAL, names(AuthMethod="None") | {key: value})
    assert keys_of(early)[key] == "Reject"
    reply = request(login, OPERATIONAL, FULL, {key: value})
    assert reply.result
    assert keys_of(reply)[key] == value


@pytest.mark.parametrize("stages", [(OPERATIONAL,), (SECURITY, OPERATIONAL)])
@pytest.mark.parametrize("limits", [None, NegotiationLimits(default_time2retain=0, default_time2wait=2)])
def test_an_initiator_without_operational_keys_gets_in(stages, limits):
    login = engine(limits=limits)
    keys = names()
    for stage in stages:
        reply = request(login, stage, OPERATIONAL if stage == SECURITY else FULL, keys)
        keys = {}
    assert reply.result.parameters.max_burst_length == 262144


def test_what_has_to_be_offered_needs_an_answer():
    login = engine(limits=NegotiationLimits(immediate_data=False))
    reply = request(login, OPERATIONAL, FULL, names())
    assert (reply.transit, keys_of(reply)["ImmediateData"]) == (False, "No")
    failed(request(login, OPERATIONAL, FULL), LoginStatus.INITIATOR_ERROR)


# -- no way round the limits

STRICT = NegotiationLimits(immediate_data=False, max_burst_length=65536, first_burst_length=4096)


def test_from_the_first_stage_to_the_last_when_defaults_are_within_the_limits():
    assert request(engine(), SECURITY, FULL, names(AuthMethod="None")).result


def test_limits_hold_on_the_way_past_the_operational_stage():
    login = engine(limits=STRICT)
    reply = request(login, SECURITY, FULL, names(AuthMethod="None"))
    assert (reply.transit, reply.result) == (False, None)
    failed(request(login, SECURITY, FULL), LoginStatus.INITIATOR_ERROR)


def test_who_was_held_back_may_go_through_the_operational_stage():
    login = engine(limits=STRICT)
    assert not request(login, SECURITY, FULL, names(AuthMethod="None")).transit
    assert request(login, SECURITY, OPERATIONAL).transit
    asked = keys_of(request(login, OPERATIONAL, FULL))
    assert asked["MaxBurstLength"] == "65536"
    answers = {key: asked[key] for key in ("ImmediateData", "MaxBurstLength", "FirstBurstLength")}
    result = request(login, OPERATIONAL, FULL, answers).result
    assert (result.parameters.immediate_data, result.parameters.max_burst_length) == (False, 65536)


# -- whose a session is


def test_a_session_is_joined_by_its_own_user_only():
    admission = Admission()
    admission.owner = "somebody"
    reply = request(engine(admission=admission), OPERATIONAL, FULL, names(), tsih=7)
    failed(reply, LoginStatus.AUTHORIZATION_FAILURE)
