from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsi.login_support import DEVICE, INITIATOR, LOCAL
from iscsitools.iscsi.errors import RejectError
from iscsitools.iscsi.login.access import AccessList
from iscsitools.iscsi.login.parameters import Parameters
from iscsitools.iscsi.login.policy import Directory, Portal, TargetNode
from iscsitools.iscsi.requests.discovery import TextResponder
from iscsitools.iscsi.text_pairs import encode_pairs
from iscsitools.wire.rfc7143 import RejectReason


def make(own=None):
    directory = Directory([Portal("0.0.0.0", 3260), Portal("2001:db8::1", 3260)])
    directory.add(TargetNode("iqn.a", DEVICE))
    directory.add(TargetNode("iqn.hidden", DEVICE, access=AccessList(("iqn.other",))))
    directory.add(TargetNode("iqn.b", DEVICE, portals=(Portal("192.0.2.9", 3261, 2),)))
    parameters = Parameters()
    target = directory.find(own) if own else None
    return TextResponder(directory, INITIATOR, target, LOCAL, parameters), parameters


def shown(name, *addresses):
    return f"TargetName={name}\0" + "".join(f"TargetAddress={address}\0" for address in addresses)


A = shown("iqn.a", "192.0.2.1:3260,1", "[2001:db8::1]:3260,1")
B = shown("iqn.b", "192.0.2.9:3261,2")


@pytest.mark.parametrize(
    ("own", "request_", "response"),
    [
        (None, "SendTargets=All\0", A + B),
        (None, "SendTargets=iqn.b\0", B),
        (None, "SendTargets=IQN.B\0", B),
        (None, "SendTargets=iqn.hidden\0", ""),
        (None, "SendTargets=iqn.none\0", ""),
        (None, "SendTargets=\0", "SendTargets=Reject\0"),
        ("iqn.b", "SendTargets=\0", B),
        ("iqn.b", "SendTargets=iqn.b\0", B),
        ("iqn.b", "SendTargets=iqn.a\0", "SendTargets=Reject\0"),
        ("iqn.b", "SendTargets=All\0", "SendTargets=Reject\0"),
        ("iqn.b", "", ""),
        ("iqn.b", "X-a=1\0Key=2\0", "X-a=NotUnderstood\0Key=NotUnderstood\0"),
        ("iqn.b", "MaxBurstLength=512\0InitiatorName=x\0", "MaxBurstLength=Reject\0InitiatorName=Reject\0"),
        ("iqn.b", "TargetName=iqn.a\0IFMarker=No\0", "TargetName=Reject\0IFMarker=Reject\0"),
        ("iqn.b", "InitiatorAlias=me\0", ""),
    ],
)
def test_answers(own, request_, response):
    responder, parameters = make(own)
    assert responder.answer(request_.encode()).decode() == response
    assert parameters == Parameters()


def test_a_new_segment_length():
    responder, parameters = make("iqn.a")
    responder.begin()
    assert responder.answer(b"MaxRecvDataSegmentLength=65536\0") == b""
    assert parameters == Parameters()
    responder.complete()
    assert parameters == Parameters(initiator_max_recv_data_segment_length=65536)


def test_an_exchange_that_was_given_up_changes_nothing():
    responder, parameters = make("iqn.a")
    responder.answer(b"MaxRecvDataSegmentLength=65536\0")
    responder.begin()
    responder.complete()
    assert parameters == Parameters()


@pytest.mark.parametrize(
    "data",
    [
        b"SendTargets=All",
        b"A\0",
        b"MaxRecvDataSegmentLength=511\0",
        b"MaxRecvDataSegmentLength=4096\0X-a=NotUnderstood\0",
        b"SendTargets=Reject\0",
    ],
)
def test_rejected_without_a_change(data):
    responder, parameters = make("iqn.a")
    with pytest.raises(RejectError) as caught:
        responder.answer(data)
    assert caught.value.reason is RejectReason.PROTOCOL_ERROR
    assert parameters == Parameters()


PAIRS = st.tuples(
    st.sampled_from(["SendTargets", "MaxRecvDataSegmentLength", "X-a", "InitialR2T"]), st.text(max_size=8)
)


@given(st.one_of(st.binary(max_size=80), st.lists(PAIRS, max_size=4).map(encode_pairs)))
def test_any_text_gets_an_answer_or_a_reject(data):
    for own in (None, "iqn.a"):
        try:
            assert isinstance(make(own)[0].answer(data), bytes)
        except RejectError as error:
            assert error.reason is RejectReason.PROTOCOL_ERROR  # noqa: PT017
