"""What no initiator should send: it gets RFC 7143's answer, and can neither crash the engine nor make it grow."""

from __future__ import annotations

import hashlib
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iscsitools.initiator import Opcode, make_bhs
from iscsitools.iscsi.login.policy import AuthPolicy, TargetNode

from .harness import INITIATOR, IQN, Target, Wire, read10, write10


def rejected(wire, ahs: bytes = b"") -> int:
    """The reason of the one Reject that came; it has the whole header of what it rejects."""
    (answer,) = wire.receive()
    assert answer.opcode == Opcode.REJECT
    assert (len(answer.data), answer.data[48:]) == (48 + len(ahs), ahs)
    return answer.reason


@pytest.mark.parametrize("opcode", [0x07, 0x0F, 0x1C, 0x20, 0x25, 0x3F])
def test_an_unknown_opcode_is_rejected_and_the_connection_goes_on(opcode):
    wire = Target().session()
    wire.feed(bytes([opcode | 0x40, 0x80]) + bytes(46))
    assert rejected(wire) == 5
    assert wire.command(bytes(6))[0].status == 0


def test_a_snack_is_rejected_at_level_0():
    wire = Target().session()
    wire.feed(make_bhs(Opcode.SNACK_REQUEST, flags=0x80))
    assert rejected(wire) == 3


def test_a_login_request_in_the_full_feature_phase_is_a_protocol_error():
    wire = Target().session()
    wire.feed(make_bhs(Opcode.LOGIN_REQUEST, immediate=True, flags=0x87))
    assert rejected(wire) == 4


def test_a_tag_in_use_is_rejected():
    wire = Target().session()
    wire.feed(wire.request(write10(0, 1), edtl=512, writes=1))
    wire.receive()
    wire.itt -= 1
    wire.feed(wire.request(read10(0, 1), read=512))
    assert rejected(wire) == 7


def test_a_segment_longer_than_agreed_is_rejected_and_ends_the_connection():
    wire = Target().session()
    wire.feed(make_bhs(Opcode.NOP_OUT, immediate=True, data_length=0xFFFFFF))
    assert rejected(wire) == 4
    assert "MaxRecvDataSegmentLength" in wire.conn.close_reason


def test_additional_headers_that_do_not_add_up_are_rejected():
    wire = Target().session()
    bhs = bytearray(wire.request(bytes(6)))
    bhs[4] = 1
    wire.feed(bytes(bhs) + b"\xff\xff\x01\x00")
    assert rejected(wire, b"\xff\xff\x01\x00") == 9


def test_a_rejected_header_is_cut_to_what_the_initiator_takes():
    wire = Target().session({"MaxRecvDataSegmentLength": "512"})
    wire.feed(bytes([0x5C, 0x80, 0, 0, 255]) + bytes(43) + b"a" * 1020)
    assert rejected(wire, b"a" * 464) == 5


@pytest.mark.parametrize(
    "action",
    [
        pytest.param(0x0009, id="READ(32)"),
        pytest.param(0x000B, id="WRITE(32)"),
        pytest.param(0x000A, id="VERIFY(32)"),
        pytest.param(0x000C, id="WRITE AND VERIFY(32)"),
        pytest.param(0x000D, id="WRITE SAME(32)"),
        pytest.param(0xFFFF, id="one that nobody knows"),
    ],
)
def test_an_extended_cdb_is_a_sense_code(action):
    """SBC-3 has those for type 2 protection only, and a device server without it processes none of them."""
    wire = Target().session()
    cdb = struct.pack(">BxxxxxxBH22x", 0x7F, 24, action)
    bhs = bytearray(wire.request(cdb[:16]))
    bhs[4] = 5
    wire.feed(bytes(bhs) + b"\x00\x11\x01\x00" + cdb[16:])
    (answer,) = wire.receive()
    assert (answer.status, answer.data[4] & 0xF, answer.data[14]) == (2, 5, 0x20)


@pytest.mark.parametrize("opcode", [0x00, 0x01, 0x04, 0x06, 0x3F])
def test_anything_but_login_before_login_ends_the_connection(opcode):
    wire = Target().connect()
    wire.feed(bytes([opcode | 0x40, 0x80]) + bytes(46))
    assert wire.conn.close_reason
    assert wire.receive() == []


def test_anything_but_login_during_login_is_answered_invalid_during_login():
    wire = Target().connect()
    text = b"InitiatorName=iqn.2026-11.example:x\0SessionType=Discovery\0"
    wire.feed(make_bhs(Opcode.LOGIN_REQUEST, immediate=True, flags=0x04, data_length=len(text)))
    wire.feed(text + bytes(-len(text) & 3))
    wire.receive()
    wire.feed(make_bhs(Opcode.NOP_OUT, immediate=True))
    (answer,) = wire.receive()
    assert (answer.status_class, answer.status_detail) == (2, 0x0B)
    assert wire.conn.close_reason


@pytest.mark.parametrize("begun", [False, True])
def test_a_login_request_with_too_long_a_segment_is_an_initiator_error(begun):
    wire = Target().connect()
    bhs = make_bhs(Opcode.LOGIN_REQUEST, immediate=True, flags=0x44, itt=3, isid=5, data_length=8192)
    if begun:
        wire.feed(bhs + bytes(8192))
        assert [p.status_class for p in wire.receive()] == [0]
    wire.feed(bhs[:5] + (8193).to_bytes(3, "big") + bhs[8:])
    (answer,) = wire.receive()
    assert (answer.opcode, answer.itt, answer.isid) == (Opcode.LOGIN_RESPONSE, 3, 5)
    assert (answer.status_class, answer.status_detail) == (2, 0)
    assert "MaxRecvDataSegmentLength" in wire.conn.close_reason


def login_text(wire: Wire, text: bytes, nsg: int = 0) -> None:
    flags = 0x80 | nsg if nsg else 0
    bhs = make_bhs(Opcode.LOGIN_REQUEST, immediate=True, flags=flags, isid=5, cid=1, data_length=len(text))
    wire.feed(wire.seal(bhs, text))


def test_a_secret_that_comes_when_the_login_has_been_broken_off_opens_no_session():
    target = Target()
    policy = AuthPolicy(lambda initiator, user: None, deferred=True)
    target.directory.add(TargetNode(IQN, target.device, auth=policy))
    wire = target.connect()
    login_text(wire, f"InitiatorName={INITIATOR}\0TargetName={IQN}\0AuthMethod=CHAP\0".encode())
    login_text(wire, b"CHAP_A=5\0")
    proof = hashlib.md5(b"\0" + b"secret" + bytes(32), usedforsecurity=False).hexdigest()
    login_text(wire, f"CHAP_N=u\0CHAP_R=0x{proof}\0".encode(), 3)
    assert len(wire.receive()) == 2
    wire.feed(make_bhs(Opcode.NOP_OUT, immediate=True))
    target.dispatcher.login_answered(wire.conn, b"secret")
    assert [(p.status_class, p.status_detail) for p in wire.receive()] == [(2, 0x0B)]
    assert len(target.table) == 0


def test_text_without_end_is_cut_off():
    wire = Target().session()
    ttt = 0xFFFFFFFF
    for _ in range(40):
        wire.feed(
            make_bhs(Opcode.TEXT_REQUEST, immediate=True, flags=0x40, itt=3, ttt=ttt, data_length=4096) + bytes(4096)
        )
        (answer,) = wire.receive()
        if answer.opcode == Opcode.REJECT:
            assert answer.reason == 10
            return
        ttt = answer.ttt
    pytest.fail("160 KiB of text were taken")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(min_size=1, max_size=600), st.integers(0, 70))
def test_any_bytes_before_login(data, piece):
    target = Target()
    wire = target.connect()
    wire.feed(data, piece)
    wire.receive()
    wire.conn.closed()
    assert target.buffers.reserved == 0


HEADERS = st.builds(
    lambda opcode, flags, lengths, rest: bytes([opcode, flags, 0, 0]) + lengths + rest,
    st.sampled_from([0x00, 0x40, 0x01, 0x41, 0x02, 0x42, 0x04, 0x44, 0x05, 0x06, 0x10, 0x43, 0x3A]),
    st.integers(0, 255),
    st.sampled_from([b"\0\0\0\0", b"\0\0\0\x08", b"\x01\0\0\0", b"\x02\0\x02\0", b"\0\0\x10\0"]),
    st.binary(min_size=40, max_size=40),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(HEADERS, st.integers(0, 4200)), max_size=8), st.booleans())
def test_any_pdus_in_the_full_feature_phase(pdus, in_window):
    target = Target()
    wire = target.session()
    for header, length in pdus:
        bhs = bytearray(header)
        if in_window:
            bhs[24:28] = (wire.conn.session.exp_cmdsn if wire.conn.session else 0).to_bytes(4, "big")
        wire.feed(bytes(bhs) + bytes(length))
        wire.receive()
    wire.conn.closed()
    assert target.buffers.reserved == 0
    assert target.session(isid=0x400001370007).command(read10(0, 1), read=512)[0].status == 0
