"""EXTENDED COPY and RECEIVE COPY RESULTS: what is copied, for whom, and how it ends."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iscsitools.scsi.copy import descriptors
from iscsitools.scsi.copy.manager import MOST_AT_ONCE, CopyManager
from iscsitools.wire.scsi import ManagementFunction

from .copying import BLOCK, MIB, Copying, copy_list, cscd, extended_copy, receive, segment
from .support import FIELD, LIST_FIELD, LIST_LENGTH, MemoryStore

NOT_REACHABLE, DEVICE_FAILURE, ABORTED = (0xA, 0x0D02), (0xA, 0x0D01), (0xA, 0x0000)
CONFLICT, BUSY = 0x18, 8


@pytest.fixture(params=[True, False], ids=["in threads", "here"])
def copying(request):
    return Copying(request.param)


def test_blocks_are_copied_between_units_and_targets(copying):
    a = copying.initiator()
    copying.initiator(copying.two)
    copying.a.store.data[: 3 * BLOCK] = b"x" * BLOCK + b"y" * BLOCK + b"z" * BLOCK
    data = copy_list(
        [cscd(copying.a), cscd(copying.b), cscd(copying.c)],
        [segment(0, 1, 2, 1, 100), segment(0, 2, 1, 0, 7), segment(1, 1, 1, 100, 5000)],
    )
    assert copying.run(a, extended_copy(data), data) == (0, None, b"")
    assert copying.b.store.data[100 * BLOCK : 102 * BLOCK] == b"y" * BLOCK + b"z" * BLOCK
    assert copying.b.store.data[102 * BLOCK] == copying.b.store.data[99 * BLOCK] == 2
    assert copying.c.store.data[7 * BLOCK : 8 * BLOCK] == b"x" * BLOCK
    assert copying.b.store.data[5000 * BLOCK : 5001 * BLOCK] == b"y" * BLOCK
    assert copying.run(a, receive(0))[2] == struct.pack(">IBHBI", 8, 1, 3, 0, 4 * BLOCK)
    assert list(copying.a.tasks) == list(copying.b.tasks) == list(copying.c.tasks) == []


@pytest.mark.parametrize(("at", "to"), [(0, 1024), (1024, 0)])
def test_ranges_of_one_unit_may_overlap(copying, at, to):
    a = copying.initiator()
    pattern = b"".join(i.to_bytes(4, "big") * 128 for i in range(4 * MIB))
    copying.a.store.data[:] = pattern
    data = copy_list([cscd(copying.a)], [segment(0, 0, 3 * MIB, at, to)])
    assert copying.run(a, extended_copy(data), data)[0] == 0
    assert copying.a.store.data[to * BLOCK :][: 3 * MIB * BLOCK] == pattern[at * BLOCK :][: 3 * MIB * BLOCK]


def test_holes_are_neither_read_nor_written(copying):
    a = copying.initiator()
    store = copying.a.store
    store.data[4096:8192] = bytes(4096)
    store.mapped[1] = False
    data = copy_list([cscd(copying.a), cscd(copying.b)], [segment(0, 1, 24, 0, 0)])
    assert copying.run(a, extended_copy(data), data)[0] == 0
    assert store.calls.count("read") == 2
    assert copying.b.store.calls == ["write", "discard", "write"]
    assert copying.b.store.data[: 12 * 1024] == store.data[: 12 * 1024]


def test_block_sizes_may_differ(copying):
    other = Copying(block_size=4096)
    a = other.initiator()
    other.initiator(other.two)
    units = [cscd(other.a), cscd(other.c)]
    data = copy_list(units, [segment(0, 1, 16, 0, 1)])
    assert other.run(a, extended_copy(data), data)[0] == 0
    assert set(other.c.store.data[4096:12288]) == {1}
    data = copy_list(units, [segment(0, 1, 2, 0, 1, flags=2)])
    assert other.run(a, extended_copy(data), data)[0] == 0
    data = copy_list(units, [segment(0, 1, 9, 0, 1)])
    assert other.run(a, extended_copy(data), data)[1] == (0xA, 0x260D)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda t: copy_list([b"\xe0" + cscd(t.a)[1:]], [segment(0, 0, 1, 0, 1)]), (5, 0x2607)),
        (lambda t: copy_list([b"\xe4\x01" + cscd(t.a)[2:]], [segment(0, 0, 1, 0, 1)]), LIST_FIELD),
        (lambda t: copy_list([cscd(t.a)[:7] + b"\x15" + cscd(t.a)[8:]], [segment(0, 0, 1, 0, 1)]), LIST_FIELD),
        (lambda t: copy_list([cscd(t.a)[:8] + bytes(24)], [segment(0, 0, 1, 0, 1)]), NOT_REACHABLE),
        (lambda t: copy_list([cscd(t.a)[:29] + b"\0\x10\0"], [segment(0, 0, 1, 0, 1)]), LIST_FIELD),
        (lambda t: copy_list([cscd(t.a)[:29] + b"\1\2\0"], [segment(0, 0, 1, 0, 1)]), LIST_FIELD),
        (lambda t: copy_list([cscd(t.a), cscd(t.b)[:29] + bytes(3)], [segment(0, 0, 1, 0, 1)]), LIST_FIELD),
        (lambda t: copy_list([cscd(t.a)], [segment(0, 0, 1, 0, 1, kind=3)]), (5, 0x2609)),
        (lambda t: copy_list([cscd(t.a)], [segment(0, 1, 1, 0, 1)]), (0xA, 0x0804)),
        (lambda t: copy_list([cscd(t.a)], [segment(0, 0, 2, 0, t.a.blocks - 1)]), ABORTED),
        (lambda t: copy_list([cscd(t.a)], [segment(0, 0, 2, t.a.blocks - 1, 0)]), ABORTED),
        (lambda t: copy_list([cscd(t.a)] * 65, []), (5, 0x2606)),
        (lambda t: copy_list([cscd(t.a)], [segment(0, 0, 1, 0, 1)] * 257), (5, 0x2608)),
        (lambda t: copy_list([cscd(t.a)] * 65, [segment(0, 0, 1, 0, 1)] * 257), LIST_LENGTH),
        (lambda t: copy_list([cscd(t.a)], [segment(0, 0, 1, 0, 1)])[:-1], LIST_LENGTH),
        (lambda t: copy_list([cscd(t.a)], [segment(0, 0, 1, 0, 1)[:-1]]), LIST_FIELD),
        (lambda t: copy_list([cscd(t.a)[:-1]], []), LIST_FIELD),
        (lambda t: copy_list([cscd(t.a)], [], inline=4) + bytes(4), (5, 0x260B)),
        (lambda t: copy_list([cscd(t.a)], [segment(0, 0, 1, 0, 1)], usage=1), LIST_FIELD),
        (lambda t: copy_list([cscd(t.a)], [segment(0, 0, 1, 0, 1)], usage=3), LIST_FIELD),
        (lambda t: bytes(15), LIST_LENGTH),
    ],
)
def test_what_cannot_be_copied(change, code):
    copying = Copying()
    a = copying.initiator()
    before = bytes(copying.a.store.data)
    data = change(copying)
    assert copying.run(a, extended_copy(data), data)[1] == code
    assert bytes(copying.a.store.data) == before
    assert list(copying.a.tasks) == []


def test_units_that_come_are_found_and_those_that_go_are_not():
    copying = Copying()
    a = copying.initiator()
    data = copy_list([cscd(copying.a), cscd(copying.b)], [segment(0, 1, 1, 0, 0)], usage=2)
    assert copying.run(a, extended_copy(data), data)[0] == 0
    copying.one.remove_unit(1)
    a.run("03000000ff00")
    assert copying.run(a, extended_copy(data), data)[1] == NOT_REACHABLE
    copying.b = copying._unit(copying.one, 1, MemoryStore(8192, BLOCK, True))
    assert copying.b.identity.naa == data[56:64]
    a.run("03000000ff00")
    assert copying.run(a, extended_copy(data), data)[0] == 0


def test_what_names_a_unit_is_looked_at_once(monkeypatch):
    """Not for each descriptor of each list: with many units that would hold up everybody."""
    copying = Copying()
    a = copying.initiator()
    looked = []
    known = descriptors.designators
    monkeypatch.setattr(descriptors, "designators", lambda unit: looked.append(unit) or known(unit))
    data = copy_list([cscd(copying.a)] * 64, [], usage=2)
    for _ in range(3):
        assert copying.run(a, extended_copy(data), data)[0] == 0
    assert looked == [copying.a, copying.b, copying.c]


def test_a_list_may_ask_for_nothing():
    copying = Copying()
    a = copying.initiator()
    assert copying.run(a, extended_copy(b""))[0] == 0
    empty = copy_list([], [])
    assert copying.run(a, extended_copy(empty), empty)[0] == 0
    assert copying.run(a, receive(0))[1] == FIELD


def test_list_identifiers_are_of_one_operation_at_a_time():
    copying = Copying()
    a, b = copying.initiator(), copying.initiator(name="b")
    data = copy_list([cscd(copying.a), cscd(copying.b)], [segment(0, 1, 1, 0, 0)])
    first = a.send(extended_copy(data), data)
    assert a.run(receive(0)).data == struct.pack(">IBHBI", 8, 0, 0, 0, 0)
    assert a.run(extended_copy(data), data).code == (5, 0x0016)
    assert b.run(receive(0)).code == FIELD
    other = b.send(extended_copy(data), data)
    copying.finish()
    assert (first.status, other.status) == (0, 0)
    assert copying.run(a, receive(0))[2][4] == 1
    assert copying.run(a, receive(4))[2] == bytes(4)


def test_who_wants_nothing_held_may_use_an_identifier_again():
    copying = Copying()
    a = copying.initiator()
    lists = [copy_list([cscd(copying.a), cscd(copying.b)], [segment(0, 1, 1, i, i)], usage=2) for i in range(2)]
    tasks = [a.send(extended_copy(data), data) for data in lists]
    held = copy_list([cscd(copying.a), cscd(copying.b)], [segment(0, 1, 1, 2, 2)])
    assert a.run(extended_copy(held), held).code == (5, 0x0016)
    copying.one.manage(ManagementFunction.LOGICAL_UNIT_RESET, a.nexus, 0, 0)
    copying.finish()
    assert [task in a.ended for task in tasks] == [False, False], "a reset ends both"
    a.run("03000000ff00")
    tasks = [a.send(extended_copy(data), data) for data in lists]
    copying.finish()
    assert [task.status for task in tasks] == [0, 0]
    assert copying.b.store.data[: 2 * BLOCK] == copying.a.store.data[: 2 * BLOCK]
    assert copying.run(a, receive(0))[2][4] == 1


def test_there_is_a_bound():
    copying = Copying()
    a = copying.initiator()
    lists = [
        copy_list([cscd(copying.a), cscd(copying.b)], [segment(0, 1, 1, 0, i)], identifier=i)
        for i in range(MOST_AT_ONCE + 1)
    ]
    tasks = [a.send(extended_copy(data), data) for data in lists]
    assert [task.status for task in tasks if task in a.ended] == [BUSY]
    copying.finish()
    assert [task.status for task in tasks] == [0] * MOST_AT_ONCE + [BUSY]


@pytest.mark.parametrize("lun", [0, 1])
def test_an_error_of_a_backstore_is_one_of_the_copy(copying, lun):
    a = copying.initiator()
    copying.one.units[lun].store.error = OSError(5, "broken")
    data = copy_list([cscd(copying.a), cscd(copying.b)], [segment(0, 1, 1, 0, 0), segment(0, 1, 1, 0, 0)])
    assert copying.run(a, extended_copy(data), data)[1] == DEVICE_FAILURE
    assert copying.run(a, receive(0))[2] == struct.pack(">IBHBI", 8, 2, 0, 0, 0)


def test_what_the_copy_manager_says_of_itself():
    copying = Copying()
    a = copying.initiator()
    parameters = copying.run(a, receive(3))[2]
    assert struct.unpack_from(">IB", parameters) == (42, 1)
    assert struct.unpack_from(">HHIIII", parameters, 8) == (64, 256, 64 * 32 + 256 * 28, 0xFFFF * 512, 0, 0)
    assert parameters[36:40] == bytes([MOST_AT_ONCE, 9, 0, 0])
    assert parameters[43:] == b"\x02\x02\xe4"
    page = a.run("12018f" + "020000").data
    found, at = {}, 4
    assert struct.unpack_from(">H", page, 2)[0] == len(page) - 4
    while at < len(page):
        kind, length = struct.unpack_from(">HH", page, at)
        found[kind] = page[at + 4 : at + 4 + length]
        at += 4 + length
    assert list(found) == [0, 1, 4, 8, 0x106, 0x108, 0x8001, 0xC001]
    assert found[1][:14] == bytes([13, 0x83, 4, 0, 0x10, 0x11, 0x1C, 0x84, 5, 0, 3, 4, 5, 7])
    assert found[8] == b"\x02\x02\xe4\0"
    assert (len(found[0]), len(found[0x106]), len(found[0x8001]), len(found[0xC001])) == (0x20, 0x2C, 0x20, 0x1C)


CHUNKS = st.sampled_from(["cscd a", "cscd c", "segment", "zero", "noise"])


@settings(max_examples=300, deadline=None)
@given(st.lists(CHUNKS, max_size=8), st.binary(min_size=16, max_size=16), st.binary(max_size=40), st.integers(0, 400))
def test_any_list_ends_with_a_status(chunks, head, noise, cut):
    copying = Copying(blocks=64)
    a = copying.initiator()
    words = {"cscd a": cscd(copying.a), "cscd c": cscd(copying.c), "segment": segment(0, 0, 5, 3, 9), "zero": bytes(28)}
    cscds = [words[c] for c in chunks if c.startswith("cscd")]
    segments = [words.get(c, noise) for c in chunks if not c.startswith("cscd")]
    data = bytearray(copy_list(cscds, segments, head[0], head[1] & 3))
    if head[2] & 1:
        data[head[3] % len(data)] = head[4]
    if head[2] & 2:
        data = data[: max(1, cut)]
    status, code, _ = copying.run(a, extended_copy(data), bytes(data))
    assert status in (0, 2)
    assert code is None or code[0] in (5, 0xA)
    assert list(copying.a.tasks) == []
    assert copying.domain.part(CopyManager).running == {}
