"""Asymmetric logical unit access: what each state lets through, and who learns of a change (SPC-4 5.15)."""

from __future__ import annotations

import struct

import pytest

from iscsitools.scsi.core.port_groups import AccessState, PortGroup, PortGroups, StatusCode

from .support import READ, TUR, Bench

INQUIRY = "120000006000"
REPORT = "a30a000000000000010000" + "00"
STANDBY, UNAVAILABLE = (2, 0x040B), (2, 0x040C)

IN_STANDBY = {
    "MODE SENSE": "1a083f00ff00",
    "LOG SENSE": "4d004000000000001000",
    "LOG SELECT": "4c000000000000000000",
    "PERSISTENT RESERVE IN": "5e000000000000001000",
    "SEND DIAGNOSTIC": "1d0000000000",
    "RECEIVE DIAGNOSTIC RESULTS": "1c0000001000",
    "READ BUFFER": "3c030000000000000400",
    "READ CAPACITY(10)": "25000000000000000000",
    "READ CAPACITY(16)": "9e10" + "00" * 10 + "00200000",
}
ALWAYS = {
    "INQUIRY": INQUIRY,
    "REPORT LUNS": "a00000000000000010000000",
    "REQUEST SENSE": "030000001200",
    "REPORT TARGET PORT GROUPS": REPORT,
}


@pytest.fixture
def bench():
    made = Bench()
    made.unit.port_groups = PortGroups({1: PortGroup((1,)), 2: PortGroup((2, 3), AccessState.STANDBY)})
    return made


def at_port(bench, port: int, name: str):
    initiator = bench.initiator(name)
    initiator.nexus.target_port = port
    bench.unit.refresh()
    return initiator


def set_states(initiator, *groups: tuple[int, int]):
    data = bytes(4) + b"".join(struct.pack(">BxH", state, number) for number, state in groups)
    return initiator.run(f"a40a00000000{len(data):08x}0000", data)


def states(initiator) -> list[tuple[int, int, int]]:
    """Each group's number, state and status code."""
    data = initiator.run(REPORT).data[4:]
    found = []
    while data:
        state, _, number, _, status, _, count = struct.unpack_from(">BBHBBBB", data)
        found.append((number, state, status))
        data = data[8 + 4 * count :]
    return found


def test_one_group_claims_nothing():
    a = Bench().initiator()
    assert a.run(INQUIRY).data[5] & 0x30 == 0
    assert a.run(INQUIRY).data[6] == 0
    assert states(a) == [(1, 0, 0)]
    assert set_states(a, (1, 2)).code == (5, 0x2000)
    assert a.run("120183" + "00ff00").data.count(bytes.fromhex("01950004")) == 0


def test_groups_are_reported(bench):
    a = at_port(bench, 1, "a")
    assert a.run(INQUIRY).data[5] & 0x30 == 0x30
    assert a.run(INQUIRY).data[6] == 0x10  # MULTIP
    assert a.run(REPORT).data.hex() == (
        "0000001c" + "008f000100000001" + "00000001" + "028f000200000002" + "00000002" + "00000003"
    )
    assert a.run("a32a000000000000010000" + "00").data.hex().startswith("00000020" + "10000000" + "008f0001")
    assert a.run("a34a000000000000010000" + "00").code == (5, 0x2400)


@pytest.mark.parametrize(("port", "group"), [(1, 1), (2, 2), (3, 2)])
def test_the_port_and_its_group_stand_in_the_designators(bench, port, group):
    data = at_port(bench, port, "a").run("120183" + "00ff00").data
    assert bytes.fromhex(f"519400040000{port:04x}") in data
    assert bytes.fromhex(f"519500040000{group:04x}") in data


@pytest.mark.parametrize("state", AccessState)
def test_what_a_state_lets_through(bench, state):
    bench.unit.port_groups.groups[2].state = state
    a = at_port(bench, 2, "a")
    gate = bench.device.itl_nexus(a.nexus, 0).gate
    active = state in (AccessState.OPTIMIZED, AccessState.NON_OPTIMIZED)
    assert (gate.read_open, gate.write_open) == (active, active)
    refused = {
        AccessState.STANDBY: STANDBY, AccessState.UNAVAILABLE: UNAVAILABLE, AccessState.TRANSITIONING: (2, 0x040A),
    }.get(state)  # fmt: skip
    for cdb in ALWAYS.values():
        assert a.run(cdb).good
    for cdb in IN_STANDBY.values():
        assert a.run(cdb).code == (None if active or state is AccessState.STANDBY else refused)
    for cdb in (TUR, READ, "160000000000"):
        assert a.run(cdb).code == refused


def test_an_initiator_switches_over(bench):
    active, passive = at_port(bench, 1, "a"), at_port(bench, 3, "bb")
    assert passive.run(READ).code == STANDBY
    assert set_states(passive, (1, 2), (2, 0)).good
    assert active.run(TUR).code == (6, 0x2A06)
    assert active.run(READ).code == STANDBY
    assert passive.run(READ).good
    assert states(passive) == [(1, 2, 1), (2, 0, 1)]
    assert set_states(passive, (2, 0)).good  # changes nothing, so nobody is told
    assert active.run(TUR).code == STANDBY


def test_the_target_itself_changes_a_state(bench):
    a, b = at_port(bench, 1, "a"), at_port(bench, 2, "bb")
    bench.unit.set_access({2: AccessState.NON_OPTIMIZED}, StatusCode.TARGET)
    assert a.run(TUR).code == b.run(TUR).code == (6, 0x2A06)
    assert states(a) == [(1, 0, 0), (2, 1, 2)]


def test_a_write_on_its_way_meets_the_new_state(bench):
    a, b = at_port(bench, 1, "a"), at_port(bench, 2, "bb")
    late = a.task("2a000000000000000100", bytes(512))
    assert bench.device.accept(late)
    assert set_states(b, (1, 3)).good
    late.data_out = memoryview(bytes(512))
    late.execute()
    assert (late.sense[2], late.sense[12] << 8 | late.sense[13]) == UNAVAILABLE
    assert "write" not in bench.store.calls


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (bytes(4) + bytes.fromhex("02000001" + "00000009"), (5, 0x2600)),
        (bytes(4) + bytes.fromhex("02000001" + "0e000002"), (5, 0x2600)),
        (bytes(4) + bytes.fromhex("02000001" + "0f000002"), (5, 0x2600)),
        (bytes(6), (5, 0x1A00)),
        (bytes(3), (5, 0x1A00)),
        (bytes(4), None),
        (b"", None),
    ],
)
def test_what_cannot_be_set_changes_nothing(bench, data, code):
    a = at_port(bench, 1, "a")
    assert a.run(f"a40a00000000{len(data):08x}0000", data).code == code
    assert states(a) == [(1, 0, 0), (2, 2, 0)]


def test_a_change_takes_its_time(bench):
    """The states are TRANSITIONING until then, and of two changes the later one counts."""
    calls = []
    bench.unit.later = lambda seconds, call: calls.append((seconds, call))
    bench.unit.port_groups.transition = 2.5
    a, b = at_port(bench, 1, "a"), at_port(bench, 2, "bb")
    header = a.run("a32a000000000000010000" + "00").data
    assert header[4:8].hex() == "10030000", "IMPLICIT TRANSITION TIME, in whole seconds"
    assert set_states(a, (1, 0), (2, 0)).good
    assert states(a) == [(1, 0, 0), (2, 0xF, 1)]
    assert b.run(TUR).code == (6, 0x2A06)
    assert b.run(READ).code == (2, 0x040A)
    assert b.run(INQUIRY).good
    assert set_states(a, (2, 1)).good
    assert [seconds for seconds, _ in calls] == [2.5, 2.5]
    calls.pop(0)[1]()
    assert states(a) == [(1, 0, 0), (2, 0xF, 1)], "what was asked for first has been overtaken"
    calls.pop(0)[1]()
    assert states(a) == [(1, 0, 0), (2, 1, 1)]
    assert b.run(TUR).code == (6, 0x2A06)
    assert b.run(READ).good
    assert set_states(a, (2, 1)).good
    assert calls == [], "nothing changes"
