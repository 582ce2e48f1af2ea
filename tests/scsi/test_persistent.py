"""Persistent reservations: registrations, each type, preemption, what the others are told."""

from __future__ import annotations

import struct

import pytest

from iscsitools.scsi.spc.transport_id import decode_transport_id, encode_transport_id

from .support import READ, TUR, WRITE, Bench, Initiator

REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT, REGISTER_AND_IGNORE, REGISTER_AND_MOVE = range(8)
KEYS, RESERVATION, CAPABILITIES, FULL_STATUS = range(4)
WE, EA, WE_RO, EA_RO, WE_AR, EA_AR = 1, 3, 5, 6, 7, 8
ALL_TYPES = (WE, EA, WE_RO, EA_RO, WE_AR, EA_AR)
CONFLICT = 0x18


def out(
    initiator: Initiator, action: int, key: int, action_key: int = 0, kind: int = 0, flags: int = 0, more: bytes = b""
):
    data = struct.pack(">QQ4xBxxx", key, action_key, flags) + more
    return initiator.run(struct.pack(">BBBxxIx", 0x5F, action, kind, len(data)), data)


def read_in(initiator: Initiator, action: int, allocation: int = 4096) -> bytes:
    return initiator.run(struct.pack(">BB5xHx", 0x5E, action, allocation)).data


class Trio:
    """Three initiators; a and b are registered with keys 1 and 2, c is not."""

    def __init__(self) -> None:
        self.bench = Bench()
        self.a, self.b, self.c = (self.bench.initiator(name) for name in ("a", "bb", "ccc"))
        assert out(self.a, REGISTER, 0, 1).good
        assert out(self.b, REGISTER, 0, 2).good


@pytest.fixture
def trio():
    return Trio()


def test_keys_and_generation(trio):
    assert read_in(trio.c, KEYS).hex() == "00000002" + "00000010" + f"{1:016x}{2:016x}"
    assert read_in(trio.c, KEYS, 8).hex() == "0000000200000010"
    assert out(trio.a, REGISTER, 1, 7).good
    assert read_in(trio.c, KEYS).hex() == "00000003" + "00000010" + f"{7:016x}{2:016x}"


def test_register_needs_the_key_that_is_there(trio):
    assert out(trio.a, REGISTER, 0, 5).status == CONFLICT
    assert out(trio.c, REGISTER, 1, 5).status == CONFLICT
    assert out(trio.c, REGISTER, 0, 0).good
    assert out(trio.a, REGISTER_AND_IGNORE, 99, 5).good
    assert read_in(trio.a, KEYS)[8:16].hex() == f"{5:016x}"


def test_what_has_no_place_to_be_kept_is_refused(trio):
    assert out(trio.c, REGISTER, 0, 3, flags=1).code == (5, 0x2600)


def test_capabilities(trio):
    assert read_in(trio.a, CAPABILITIES).hex() == "00080c80ea010000"  # SIP_C, ATP_C; TMV


@pytest.mark.parametrize(
    ("kind", "registered", "other"),
    [
        (WE, (True, False), (True, False)),
        (EA, (False, False), (False, False)),
        (WE_RO, (True, True), (True, False)),
        (EA_RO, (True, True), (False, False)),
        (WE_AR, (True, True), (True, False)),
        (EA_AR, (True, True), (False, False)),
    ],
)
def test_who_may_read_and_write(trio, kind, registered, other):
    assert out(trio.a, RESERVE, 1, kind=kind).good
    assert out(trio.a, RESERVE, 1, kind=kind).good
    for initiator, allowed in ((trio.a, (True, True)), (trio.b, registered), (trio.c, other)):
        itl_nexus = trio.bench.device.itl_nexus(initiator.nexus, 0)
        assert itl_nexus is not None
        assert (itl_nexus.gate.read_open, itl_nexus.gate.write_open) == allowed
        assert initiator.run(READ).status == (0 if allowed[0] else CONFLICT)
        assert initiator.run(WRITE, bytes(512)).status == (0 if allowed[1] else CONFLICT)
        assert initiator.run(TUR).good


@pytest.mark.parametrize("kind", ALL_TYPES)
def test_release(trio, kind):
    assert out(trio.a, RESERVE, 1, kind=kind).good
    other = WE if kind != WE else EA
    assert out(trio.a, RELEASE, 1, kind=other).code == (5, 0x2604)
    assert out(trio.c, RELEASE, 1, kind=kind).status == CONFLICT
    assert out(trio.a, RELEASE, 1, kind=kind).good
    assert read_in(trio.a, RESERVATION).hex() == "0000000200000000"
    assert trio.b.run(TUR).code == ((6, 0x2A04) if kind in (5, 6, 7, 8) else None)
    assert trio.a.run(TUR).good
    assert trio.c.run(TUR).good


def test_release_by_one_who_does_not_hold_it(trio):
    out(trio.a, RESERVE, 1, kind=WE_RO)
    assert out(trio.b, RELEASE, 2, kind=WE_RO).good
    assert read_in(trio.b, RESERVATION)[8:].hex() == f"{1:016x}" + "0000000000050000"


def test_reserve_conflicts(trio):
    assert out(trio.c, RESERVE, 0, kind=WE).status == CONFLICT
    assert out(trio.a, RESERVE, 2, kind=WE).status == CONFLICT
    assert out(trio.a, RESERVE, 1, kind=WE).good
    assert out(trio.a, RESERVE, 1, kind=EA).status == CONFLICT
    assert out(trio.b, RESERVE, 2, kind=WE).status == CONFLICT


@pytest.mark.parametrize("kind", [0, 2, 4, 9, 0x11])
def test_bad_types_and_scopes(trio, kind):
    assert out(trio.a, RESERVE, 1, kind=kind).code == (5, 0x2400)


def test_unregistering_ends_the_holders_reservation(trio):
    out(trio.a, RESERVE, 1, kind=EA_RO)
    assert out(trio.a, REGISTER, 1, 0).good
    assert trio.b.run(TUR).code == (6, 0x2A04)
    assert trio.c.run(READ).good


def test_all_registrants_hold_until_the_last_goes(trio):
    out(trio.a, RESERVE, 1, kind=EA_AR)
    assert read_in(trio.a, RESERVATION)[8:16] == bytes(8)
    assert out(trio.a, REGISTER, 1, 0).good
    assert trio.c.run(READ).status == CONFLICT
    assert out(trio.b, REGISTER, 2, 0).good
    assert trio.c.run(READ).good


def test_clear(trio):
    out(trio.a, RESERVE, 1, kind=EA)
    assert out(trio.c, CLEAR, 0).status == CONFLICT
    assert out(trio.b, CLEAR, 2).good
    assert trio.a.run(TUR).code == (6, 0x2A03)
    assert trio.b.run(TUR).good
    assert read_in(trio.c, KEYS).hex() == "0000000300000000"


def test_preempt_takes_the_reservation(trio):
    out(trio.a, RESERVE, 1, kind=WE)
    assert out(trio.b, PREEMPT, 2, 1, kind=EA_RO).good
    assert trio.a.run(TUR).code == (6, 0x2A05)
    assert read_in(trio.b, RESERVATION)[8:].hex() == f"{2:016x}" + "0000000000060000"
    assert read_in(trio.b, KEYS)[8:].hex() == f"{2:016x}"
    assert trio.a.run(READ).status == CONFLICT


def test_preempt_of_a_registrant_leaves_the_reservation(trio):
    out(trio.a, RESERVE, 1, kind=WE)
    out(trio.c, REGISTER, 0, 3)
    assert out(trio.b, PREEMPT, 2, 3, kind=EA).good
    assert read_in(trio.b, RESERVATION)[8:].hex() == f"{1:016x}" + "0000000000010000"
    assert trio.c.run(TUR).code == (6, 0x2A05)
    assert out(trio.b, PREEMPT, 2, 3, kind=EA).status == CONFLICT
    assert out(trio.b, PREEMPT, 2, 0, kind=EA).code == (5, 0x2600)


def test_preempt_of_all_registrants_by_key_0(trio):
    out(trio.a, RESERVE, 1, kind=WE_AR)
    assert out(trio.b, PREEMPT, 2, 0, kind=WE).good
    assert read_in(trio.b, KEYS)[8:].hex() == f"{2:016x}"
    assert trio.a.run(TUR).code == (6, 0x2A05)
    assert read_in(trio.b, RESERVATION)[-3] == WE


def test_holder_changes_its_type_by_preempting_itself(trio):
    out(trio.a, RESERVE, 1, kind=WE_RO)
    assert out(trio.a, PREEMPT, 1, 1, kind=EA).good
    assert read_in(trio.a, KEYS)[8:].hex() == f"{1:016x}{2:016x}"
    assert read_in(trio.a, RESERVATION)[-3] == EA
    assert trio.b.run(TUR).code == (6, 0x2A04)


def test_preempt_and_abort_ends_tasks(trio):
    trio.bench.store.blocking = True
    task = trio.a.send(READ)
    assert out(trio.b, PREEMPT_AND_ABORT, 2, 1, kind=WE).good
    assert task.aborted
    assert trio.a.dropped == [task]
    trio.bench.executor.run()
    assert trio.a.released == [task]
    assert task not in trio.a.ended


def test_registrations_outlive_the_session(trio):
    out(trio.a, RESERVE, 1, kind=WE)
    trio.bench.device.detach(trio.a.nexus)
    assert trio.b.run(WRITE, bytes(512)).status == CONFLICT
    again = trio.bench.initiator("a")
    assert again.run(WRITE, bytes(512)).good


def test_resets_leave_them_alone(trio):
    out(trio.a, RESERVE, 1, kind=WE)
    trio.bench.device.manage(5, trio.a.nexus, 0, 0)
    trio.c.run(TUR)
    assert trio.c.run(WRITE, bytes(512)).status == CONFLICT


def test_register_and_move(trio):
    out(trio.a, RESERVE, 1, kind=WE)
    transport_id = encode_transport_id(trio.c.nexus.initiator_port)
    data = struct.pack(">QQxBHI", 1, 9, 2, 1, len(transport_id)) + transport_id
    cdb = struct.pack(">BB3xIx", 0x5F, REGISTER_AND_MOVE, len(data))
    assert trio.b.run(cdb, data).status == CONFLICT
    assert trio.a.run(cdb, data).good
    assert trio.c.run(WRITE, bytes(512)).good
    assert trio.a.run(WRITE, bytes(512)).status == CONFLICT
    assert read_in(trio.c, RESERVATION)[8:16].hex() == f"{9:016x}"
    assert f"{1:016x}" not in read_in(trio.c, KEYS)[8:].hex()


@pytest.mark.parametrize("port", [0, 2, 0xFFFF])
def test_register_and_move_to_a_port_that_is_not_there(trio, port):
    """Nobody could ever come in by it and give the reservation back."""
    out(trio.a, RESERVE, 1, kind=WE)
    transport_id = encode_transport_id(trio.c.nexus.initiator_port)
    data = struct.pack(">QQxBHI", 1, 9, 2, port, len(transport_id)) + transport_id
    answer = trio.a.run(struct.pack(">BB3xIx", 0x5F, REGISTER_AND_MOVE, len(data)), data)
    assert (answer.code, answer.sense[15:18].hex()) == ((5, 0x2600), "8f0012")
    assert trio.a.run(WRITE, bytes(512)).good


def test_full_status(trio):
    out(trio.a, RESERVE, 1, kind=WE_RO)
    data = read_in(trio.c, FULL_STATUS)
    transport_id = encode_transport_id(trio.a.nexus.initiator_port)
    head = struct.pack(">Q4xBB4xHI", 1, 1, WE_RO, 1, len(transport_id))
    assert data[8:].startswith(head + transport_id)
    second = data[8 + len(head) + len(transport_id) :]
    assert second[:14].hex() == f"{2:016x}" + "000000000000"
    assert len(data) == 8 + int.from_bytes(data[4:8], "big")


@pytest.mark.parametrize("length", [0, 23, 25, 28])
def test_parameter_list_length(trio, length):
    assert trio.c.run(struct.pack(">BB3xIx", 0x5F, REGISTER, length), bytes(32)).code == (5, 0x1A00)


def test_short_parameter_list(trio):
    assert trio.c.run(struct.pack(">BB3xIx", 0x5F, REGISTER, 24), bytes(20)).code == (5, 0x1A00)


def test_transport_ids():
    name = "iqn.2026-11.example:a,i,0x000000000001"
    raw = encode_transport_id(name)
    assert raw[:4].hex() == f"4500{len(raw) - 4:04x}"
    assert len(raw) % 4 == 0
    assert decode_transport_id(raw) == name
    assert decode_transport_id(raw[:-4]) is None
    assert decode_transport_id(b"\x05" + raw[1:]) is None
    assert decode_transport_id(b"\x45\x00\x00\x14" + b"\xff" * 20) is None
