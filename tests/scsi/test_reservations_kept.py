"""Registrations for others, for all ports, and those that outlive a restart (SPC-4 5.13.5, 5.13.7, 6.16.3)."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsitools.scsi.core.executor import InlineExecutor
from iscsitools.scsi.core.port_groups import PortGroup, PortGroups
from iscsitools.scsi.core.registrations import Port, Registrations, ReservationType
from iscsitools.scsi.spc.transport_id import encode_transport_id

from .support import Bench, Initiator

REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT, AND_IGNORE, MOVE = range(8)
APTPL, ALL_TG_PT, SPEC_I_PT = 0x01, 0x04, 0x08
CONFLICT = 0x18


class Place:
    """Keeps texts in memory. ``fails``: what the next one raises."""

    def __init__(self) -> None:
        self.executor = InlineExecutor()
        self.texts: list[tuple[int, str]] = []
        self.fails: OSError | None = None

    def keep(self, number: int, text: str) -> None:
        if self.fails is not None:
            raise self.fails
        self.texts.append((number, text))

    @property
    def text(self) -> str:
        return self.texts[-1][1]


def out(initiator: Initiator, action: int, key: int, new: int = 0, flags: int = 0, kind: int = 0, more: bytes = b""):
    data = struct.pack(">QQ4xBxxx", key, new, flags) + more
    return initiator.run(struct.pack(">BBBxxIx", 0x5F, action, kind, len(data)), data)


def listed(*names: str) -> bytes:
    ids = b"".join(encode_transport_id(name) for name in names)
    return struct.pack(">I", len(ids)) + ids


@pytest.fixture
def bench():
    made = Bench()
    made.unit.reservation_place = Place()
    return made


def keys(bench: Bench) -> dict[Port, int]:
    return bench.unit.reservations.persistent.keys


# SPEC_I_PT and ALL_TG_PT


def test_a_nexus_registers_others_with_itself(bench):
    a, b = bench.initiator(), bench.initiator("bb")
    there, absent = b.nexus.initiator_port, "iqn.2026-11.example:absent,i,0x400000000000"
    assert out(a, REGISTER, 0, 7, SPEC_I_PT, more=listed(there, absent, there)).good
    assert [(port.initiator_port, key) for port, key in keys(bench).items()] == [
        (a.nexus.initiator_port, 7), (there, 7), (absent, 7),
    ]  # fmt: skip
    assert bench.unit.reservations.persistent.generation == 1
    assert out(b, REGISTER, 7, 8).good


def test_who_is_listed_and_registered_already_keeps_its_key(bench):
    a, b = bench.initiator(), bench.initiator("bb")
    assert out(b, REGISTER, 0, 8).good
    assert out(a, REGISTER, 0, 7, SPEC_I_PT, more=listed(b.nexus.initiator_port)).good
    assert sorted(keys(bench).values()) == [7, 8]


@pytest.mark.parametrize(
    ("action", "more", "code"),
    [
        (AND_IGNORE, b"", (5, 0x2600)),
        (REGISTER, b"", (5, 0x1A00)),
        (REGISTER, struct.pack(">I", 40) + bytes(36), (5, 0x1A00)),
        (REGISTER, struct.pack(">I", 24) + bytes(24), (5, 0x2600)),
        (REGISTER, struct.pack(">I", 3) + bytes(3), (5, 0x2600)),
        (REGISTER, listed("iqn.a") , (5, 0x2600)),
    ],
)  # fmt: skip
def test_a_list_of_ports_that_is_wrong_registers_nobody(bench, action, more, code):
    assert out(bench.initiator(), action, 0, 7, SPEC_I_PT, more=more).code == code
    assert keys(bench) == {}


def test_who_is_registered_already_lists_nobody(bench):
    a = bench.initiator()
    assert out(a, REGISTER, 0, 7).good
    assert out(a, REGISTER, 7, 7, SPEC_I_PT, more=listed("x,i,0x00")).code == (5, 0x2600)


def test_a_registration_at_all_target_ports(bench):
    bench.unit.port_groups = PortGroups({1: PortGroup((1, 2)), 3: PortGroup((5,))})
    a = bench.initiator()
    assert out(a, REGISTER, 0, 7, ALL_TG_PT).good
    assert {port.target_port for port in keys(bench)} == {1, 2, 5}
    assert out(a, REGISTER, 7, 0, ALL_TG_PT).good
    assert keys(bench) == {}


def test_a_reservation_moves_to_another_target_port(bench):
    bench.unit.port_groups = PortGroups({1: PortGroup((1, 2))})
    a, b = bench.initiator(), bench.initiator("bb")
    b.nexus.target_port = 2
    assert out(a, REGISTER, 0, 7).good
    assert out(a, RESERVE, 7, kind=1).good
    port = encode_transport_id(b.nexus.initiator_port)
    data = struct.pack(">QQxBHI", 7, 9, 1, 2, len(port)) + port
    assert a.run(struct.pack(">BBBxxIx", 0x5F, MOVE, 0, len(data)), data).good
    state = bench.unit.reservations.persistent
    assert (state.holder, state.aptpl) == (Port(b.nexus.initiator_port, 2), True)
    assert a.run("2a000000000000000100", bytes(512)).status == CONFLICT
    assert b.run("2a000000000000000100", bytes(512)).good


# What outlives a restart


def test_capabilities_say_that_there_is_a_place_and_that_it_is_used(bench):
    a = bench.initiator()
    assert a.run("5e020000000000000800").data.hex() == "00080d80ea010000"
    out(a, REGISTER, 0, 7, APTPL)
    assert a.run("5e020000000000000800").data.hex() == "00080d81ea010000"


def test_every_change_is_kept_before_its_status(bench):
    a, b = bench.initiator(), bench.initiator("bb")
    place = bench.unit.reservation_place
    assert out(a, REGISTER, 0, 7, APTPL).good
    assert out(b, REGISTER, 0, 8, APTPL).good
    assert out(b, RESERVE, 8, kind=5).good
    state = Registrations.from_text(place.text)
    assert (list(state.keys.values()), state.kind, state.holder) == ([7, 8], 5, Port.of(b.nexus))
    assert out(a, PREEMPT, 7, 8, kind=5).good
    state = Registrations.from_text(place.text)
    assert (list(state.keys.values()), state.holder) == ([7], Port.of(a.nexus))
    assert out(a, RELEASE, 7, kind=5).good
    assert Registrations.from_text(place.text).kind is None
    assert out(a, CLEAR, 7).good
    assert place.text == ""
    assert [number for number, _ in place.texts] == list(range(1, 7))


def test_what_changes_nothing_and_what_nobody_asked_for_is_not_kept(bench):
    a = bench.initiator()
    place = bench.unit.reservation_place
    out(a, REGISTER, 0, 7)
    out(a, RESERVE, 7, kind=1)
    assert place.texts == []
    out(a, REGISTER, 7, 7, APTPL)
    out(a, RESERVE, 7, kind=1)
    assert len(place.texts) == 1


def test_the_last_registration_decides_whether_all_is_kept(bench):
    a, b = bench.initiator(), bench.initiator("bb")
    out(a, REGISTER, 0, 7, APTPL)
    out(b, REGISTER, 0, 8)
    assert bench.unit.reservation_place.text == ""
    assert out(a, RESERVE, 7, kind=1).good
    assert len(bench.unit.reservation_place.texts) == 2


def test_a_unit_may_keep_them_unasked():
    bench = Bench(keep_reservations=True)
    bench.unit.reservation_place = Place()
    out(bench.initiator(), REGISTER, 0, 7)
    assert list(Registrations.from_text(bench.unit.reservation_place.text).keys.values()) == [7]


@pytest.mark.parametrize(
    ("action", "key", "new", "kind"),
    [
        (REGISTER, 7, 9, 0), (REGISTER, 7, 0, 0), (AND_IGNORE, 7, 9, 0), (RESERVE, 7, 0, 1), (CLEAR, 7, 0, 0),
        (PREEMPT, 7, 8, 5), (PREEMPT_AND_ABORT, 7, 8, 5),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_changes_nothing(bench, action, key, new, kind):
    """Neither the registrations, nor what others are told, nor their tasks."""
    a, b = bench.initiator(), bench.initiator("bb")
    assert out(a, REGISTER, 0, 7, APTPL).good
    assert out(b, REGISTER, 0, 8, APTPL).good
    place, state = bench.unit.reservation_place, bench.unit.reservations.persistent
    before = state.to_text(), state.generation, place.text
    reading = b.task("28000000000000000100")
    assert bench.device.accept(reading)
    place.fails = OSError(28, "full")
    assert out(a, action, key, new, APTPL, kind).code == (7, 0x2707)
    assert (state.to_text(), state.generation, place.text) == before
    assert (b.dropped, bench.unit.itl_nexuses[b.nexus].attentions) == ([], [])
    place.fails = None
    assert out(a, action, key, new, APTPL, kind).good
    assert place.text != before[2]


def test_a_hung_place_stops_nobody_else(bench):
    """PERSISTENT RESERVE OUT waits for its place, and is true when it is kept: others go on as before."""
    a, b = bench.initiator(), bench.initiator("bb")
    assert out(b, REGISTER, 0, 8, APTPL).good
    bench.unit.reservation_place.executor = bench.executor
    waiting = a.send(struct.pack(">BBBxxIx", 0x5F, REGISTER, 0, 24), struct.pack(">QQ4xBxxx", 0, 7, APTPL))
    assert waiting not in a.ended
    assert b.run("2a000000000000000100", bytes(512)).good
    assert b.run("5e000000000000001000").data[7] == 8
    bench.finish()
    assert waiting.status == 0
    assert b.run("5e000000000000001000").data[7] == 16


def send(initiator: Initiator, action: int, key: int, new: int, kind: int = 0):
    cdb = struct.pack(">BBBxxIx", 0x5F, action, kind, 24)
    return initiator.send(cdb, struct.pack(">QQ4xBxxx", key, new, APTPL))


def test_changes_are_made_one_after_the_other(bench):
    """Each by what is true when it is its turn: the one before it may have failed, or have taken its registration."""
    a, b, c = bench.initiator(), bench.initiator("bb"), bench.initiator("ccc")
    assert out(a, REGISTER, 0, 7, APTPL).good
    assert out(b, REGISTER, 0, 8, APTPL).good
    place = bench.unit.reservation_place
    place.executor = bench.executor
    place.fails = OSError(28, "full")
    failing = send(c, REGISTER, 0, 9)
    place.fails = None
    unregistered = send(c, RESERVE, 9, 0, kind=5)
    assert (len(a.ended), len(b.ended), c.ended[1:]) == (2, 2, [])
    bench.finish()
    assert (failing.status, unregistered.status) == (2, CONFLICT)
    fencing, fenced, after = send(a, PREEMPT, 7, 8, kind=5), send(b, RESERVE, 8, 0, kind=5), send(c, REGISTER, 0, 9)
    bench.finish()
    assert (fencing.status, fenced.status, after.status) == (0, CONFLICT, 0)
    assert list(Registrations.from_text(place.text).keys.values()) == [7, 9]


def test_one_that_was_aborted_before_its_turn_changes_nothing(bench):
    a, b = bench.initiator(), bench.initiator("bb")
    assert out(b, REGISTER, 0, 8, APTPL).good
    bench.unit.reservation_place.executor = bench.executor
    first, second = send(b, REGISTER, 8, 9), send(a, REGISTER, 0, 7)
    bench.device.detach(a.nexus)
    bench.finish()
    assert (first.status, a.ended, a.released) == (0, a.ended[:1], [second])
    assert list(keys(bench).values()) == [9]
    assert bench.unit.in_flight == 0


def test_ending_a_registration_that_is_not_there_leaves_aptpl_as_it_is(bench):
    """SPC-4 5.13.7: nothing but GOOD."""
    a, b = bench.initiator(), bench.initiator("bb")
    assert out(b, REGISTER, 0, 8, APTPL).good
    for action in (REGISTER, AND_IGNORE):
        assert out(a, action, 0, 0).good
    assert bench.unit.reservations.persistent.aptpl
    assert out(b, RESERVE, 8, kind=1).good
    assert Registrations.from_text(bench.unit.reservation_place.text).kind == 1


PORTS = st.builds(Port, st.text(max_size=20), st.integers(1, 65535))


@given(st.dictionaries(PORTS, st.integers(0, 2**64 - 1), max_size=5), st.booleans(), st.data())
def test_a_state_is_read_back_as_it_was(registered, aptpl, data):
    state = Registrations()
    state.keys.update(registered)
    state.aptpl = aptpl
    if registered and data.draw(st.booleans()):
        state.reserve(data.draw(st.sampled_from(sorted(registered))), data.draw(st.sampled_from(ReservationType)))
    again = Registrations.from_text(state.to_text())
    assert [getattr(again, name) for name in ("keys", "kind", "holder", "aptpl", "generation")] == [
        registered, state.kind, state.holder, aptpl, 0,
    ]  # fmt: skip


HEAD = '{"version": 1, "aptpl": 1, '


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "{}", "7", '{"version": 2}',
        HEAD + '"type": 9, "holder": null, "registered": []}',
        HEAD + '"type": 1, "holder": 0, "registered": []}',
        HEAD + '"type": 1, "holder": null, "registered": []}',
        HEAD + '"type": null, "holder": null, "registered": [{"initiator_port": "a", "target_port": 1}]}',
    ],
)  # fmt: skip
def test_what_is_no_state_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        Registrations.from_text(text)
