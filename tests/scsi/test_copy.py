"""EXTENDED COPY and RECEIVE COPY RESULTS: what is copied, for whom, and how it ends."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iscsitools.scsi.commands import DISK
from iscsitools.scsi.copy.manager import MOST_AT_ONCE, CopyManager
from iscsitools.scsi.core.device import ScsiDevice
from iscsitools.scsi.core.domain import Domain
from iscsitools.scsi.core.nexus import Nexus
from iscsitools.scsi.core.options import UnitOptions
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.wire.scsi import ManagementFunction

from .support import HeldExecutor, Initiator, MemoryStore

BLOCK = 512
MIB = 2048
NOT_REACHABLE, DEVICE_FAILURE, ABORTED = (0xA, 0x0D02), (0xA, 0x0D01), (0xA, 0x0000)
LIST_FIELD, CDB_FIELD, LENGTH = (5, 0x2600), (5, 0x2400), (5, 0x1A00)
CONFLICT, BUSY = 0x18, 8


class Copying:
    """Two targets of one server, ``one`` with the units 0 and 1, ``two`` with 0."""

    def __init__(self, blocking=True, blocks=8192, block_size=BLOCK, realm=None):
        self.clock = 0
        self.domain = Domain(lambda: self.clock)
        self.executor = HeldExecutor()
        self.one = ScsiDevice("iqn.2026-11.example:one", DISK, self.domain)
        self.two = ScsiDevice("iqn.2026-11.example:two", DISK, self.domain, realm)
        self.a = self._unit(self.one, 0, MemoryStore(blocks, BLOCK, blocking))
        self.b = self._unit(self.one, 1, MemoryStore(blocks, BLOCK, blocking))
        self.c = self._unit(self.two, 0, MemoryStore(blocks * BLOCK // block_size, block_size, blocking), block_size)
        for seed, unit in enumerate((self.a, self.b, self.c)):
            unit.store.data[:] = bytes([seed + 1]) * len(unit.store.data)
            unit.store.mapped = [True] * len(unit.store.mapped)

    def _unit(self, device, number, store, block_size=BLOCK):
        options = UnitOptions(target=device.name, thin=True, block_size=block_size)
        unit = LogicalUnit(number, store, self.executor, options, DISK)
        device.add_unit(unit)
        return unit

    def initiator(self, device=None, name="a"):
        nexus = Nexus(f"iqn.2026-11.example:{name}", f"iqn.2026-11.example:{name},i,0x{name}")
        device = device or self.one
        device.attach(nexus)
        made = Initiator(device, nexus)
        for lun in device.units:
            made.run("03000000ff00", lun=lun)
        return made

    def finish(self):
        while self.executor.held or self.executor.steps:
            if self.executor.held:
                self.executor.run()
            else:
                self.executor.step()

    def run(self, initiator, cdb, data=b"", lun=0):
        task = initiator.send(cdb, data, lun=lun)
        self.finish()
        assert task in initiator.ended
        code = (task.sense[2], task.sense[12] << 8 | task.sense[13]) if task.sense else None
        return task.status, code, bytes(task.data_in)


def cscd(unit):
    naa = unit.identity.naa
    return struct.pack(">BBHBBBB", 0xE4, 0, 0, 1, 3, 0, 8) + naa.ljust(20, b"\0") + bytes([0, 0, 2, 0])


def segment(source, target, blocks, at, to, flags=0, kind=2):
    return struct.pack(">BBHHH2xHQQ", kind, flags, 24, source, target, blocks, at, to)


def copy_list(cscds, segments, identifier=1, usage=0, inline=0):
    targets, segs = b"".join(cscds), b"".join(segments)
    return struct.pack(">BBH4xII", identifier, usage << 3, len(targets), len(segs), inline) + targets + segs


def extended_copy(data):
    return struct.pack(">BB8xIxx", 0x83, 0, len(data))


def receive(action, identifier=1, length=512):
    return struct.pack(">BBB7xIxx", 0x84, action, identifier, length)


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


def test_a_unit_of_another_target_is_reached_by_who_is_logged_in_there():
    copying = Copying()
    a = copying.initiator()
    data = copy_list([cscd(copying.a), cscd(copying.c)], [segment(1, 0, 1, 0, 0)])
    assert copying.run(a, extended_copy(data), data)[1] == NOT_REACHABLE
    there = copying.initiator(copying.two)
    assert copying.run(a, extended_copy(data), data)[0] == 0
    copying.two.detach(there.nexus)
    copying.initiator(copying.two, "b")
    assert copying.run(a, extended_copy(data), data)[1] == NOT_REACHABLE
    there = copying.initiator(copying.two)
    assert copying.run(a, extended_copy(data), data)[0] == 0
    there.nexus.address = "192.0.2.1"
    assert copying.run(a, extended_copy(data), data)[1] == NOT_REACHABLE
    there.nexus.address = ""
    there.nexus.luns = {0: 7}
    assert copying.run(a, extended_copy(data), data)[1] == NOT_REACHABLE
    guarded = Copying(realm="chap")
    a = guarded.initiator()
    guarded.initiator(guarded.two)
    assert guarded.run(a, extended_copy(data), data)[1] == NOT_REACHABLE
    guarded.one.realm = "chap"
    assert guarded.run(a, extended_copy(data), data)[0] == 0


def test_a_unit_that_the_initiator_does_not_see_is_none_for_it():
    copying = Copying()
    a = copying.initiator()
    data = copy_list([cscd(copying.a), cscd(copying.b)], [segment(1, 0, 1, 0, 0)])
    copying.one.show(a.nexus, {0: 0})
    a.run("030000001200")
    assert copying.run(a, extended_copy(data), data)[1] == NOT_REACHABLE


def reserve(initiator, kind, lun):
    key = b"12345678"
    initiator.run(struct.pack(">BBBxxIx", 0x5F, 0, 0, 24), bytes(8) + key + bytes(8), lun=lun)
    assert initiator.run(struct.pack(">BBBxxIx", 0x5F, 1, kind, 24), key + bytes(16), lun=lun).good


@pytest.mark.parametrize(("lun", "kind", "allowed"), [(0, 1, True), (0, 3, False), (1, 1, False)])
def test_reservations_of_source_and_destination_count(lun, kind, allowed):
    copying = Copying()
    a, b = copying.initiator(), copying.initiator(name="b")
    reserve(b, kind, lun)
    data = copy_list([cscd(copying.a), cscd(copying.b)], [segment(0, 1, 1, 0, 0)])
    asked_by = 1 - lun  # the unit that is not reserved
    if allowed:
        assert copying.run(a, extended_copy(data), data, lun=asked_by)[0] == 0
    else:
        assert copying.run(a, extended_copy(data), data, lun=asked_by)[1] == DEVICE_FAILURE
        assert copying.run(a, extended_copy(data), data, lun=lun)[0] == CONFLICT
    assert (copying.b.store.data[0] == 1) == allowed


def test_who_is_fenced_meanwhile_copies_no_more():
    copying = Copying()
    a, b = copying.initiator(), copying.initiator(name="b")
    copying.a.store.data[:] = b"\x09" * len(copying.a.store.data)
    data = copy_list([cscd(copying.a), cscd(copying.b)], [segment(0, 1, 4 * MIB - 1, 0, 0)])
    task = a.send(extended_copy(data), data)
    copying.executor.run()
    copying.executor.run()
    copying.executor.run()
    reserve(b, 1, 1)
    before = bytes(copying.b.store.data)
    copying.finish()
    assert task.sense[12:14] == b"\x0d\x01"
    assert bytes(copying.b.store.data) == before


def test_write_protection_is_looked_at():
    copying = Copying()
    a = copying.initiator()
    copying.b.software_write_protect = True
    copying.b.refresh()
    data = copy_list([cscd(copying.a), cscd(copying.b)], [segment(0, 1, 1, 0, 0)])
    assert copying.run(a, extended_copy(data), data)[1] == DEVICE_FAILURE
    details = copying.run(a, receive(4))[2]
    assert details[:4] == struct.pack(">I", len(details) - 4)
    assert details[56] == 2
    assert details[60:78][2] == 0xA
    assert details[60:78][10:12] == b"\0\0"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda t: copy_list([b"\xe0" + cscd(t.a)[1:]], [segment(0, 0, 1, 0, 1)]), (5, 0x2607)),
        (lambda t: copy_list([b"\xe4\x01" + cscd(t.a)[2:]], [segment(0, 0, 1, 0, 1)]), LIST_FIELD),
        (lambda t: copy_list([cscd(t.a)[:7] + b"\x15" + cscd(t.a)[8:]], [segment(0, 0, 1, 0, 1)]), LIST_FIELD),
        (lambda t: copy_list([cscd(t.a)[:8] + bytes(24)], [segment(0, 0, 1, 0, 1)]), NOT_REACHABLE),
        (lambda t: copy_list([cscd(t.a)], [segment(0, 0, 1, 0, 1, kind=3)]), (5, 0x2609)),
        (lambda t: copy_list([cscd(t.a)], [segment(0, 1, 1, 0, 1)]), (0xA, 0x0804)),
        (lambda t: copy_list([cscd(t.a)], [segment(0, 0, 2, 0, t.a.blocks - 1)]), ABORTED),
        (lambda t: copy_list([cscd(t.a)], [segment(0, 0, 2, t.a.blocks - 1, 0)]), ABORTED),
        (lambda t: copy_list([cscd(t.a)] * 65, []), (5, 0x2606)),
        (lambda t: copy_list([cscd(t.a)], [segment(0, 0, 1, 0, 1)] * 257), (5, 0x2608)),
        (lambda t: copy_list([cscd(t.a)] * 65, [segment(0, 0, 1, 0, 1)] * 257), LENGTH),
        (lambda t: copy_list([cscd(t.a)], [segment(0, 0, 1, 0, 1)])[:-1], LENGTH),
        (lambda t: copy_list([cscd(t.a)], [segment(0, 0, 1, 0, 1)[:-1]]), LIST_FIELD),
        (lambda t: copy_list([cscd(t.a)[:-1]], []), LIST_FIELD),
        (lambda t: copy_list([cscd(t.a)], [], inline=4) + bytes(4), (5, 0x260B)),
        (lambda t: copy_list([cscd(t.a)], [segment(0, 0, 1, 0, 1)], usage=1), LIST_FIELD),
        (lambda t: copy_list([cscd(t.a)], [segment(0, 0, 1, 0, 1)], usage=3), LIST_FIELD),
        (lambda t: bytes(15), LENGTH),
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


def test_a_list_may_ask_for_nothing():
    copying = Copying()
    a = copying.initiator()
    assert copying.run(a, extended_copy(b""))[0] == 0
    empty = copy_list([], [])
    assert copying.run(a, extended_copy(empty), empty)[0] == 0
    assert copying.run(a, receive(0))[1] == CDB_FIELD


@pytest.mark.parametrize("function", [ManagementFunction.ABORT_TASK, ManagementFunction.LOGICAL_UNIT_RESET])
def test_an_abort_ends_it_once_the_step_has_returned(function):
    copying = Copying()
    a = copying.initiator()
    copying.executor.begins = False
    data = copy_list([cscd(copying.a), cscd(copying.b)], [segment(0, 1, 2 * MIB, 0, 0)])
    task = a.send(extended_copy(data), data)
    copying.executor.run()
    assert len(copying.executor.held) == 1
    copying.one.manage(function, a.nexus, 0, task.tag)
    assert a.released == [task]
    assert copying.executor.held == []
    assert list(copying.a.tasks) == list(copying.b.tasks) == []
    assert copying.domain.part(CopyManager).running == {}
    assert set(copying.b.store.data) == {2}


def test_what_a_thread_is_at_keeps_its_blocks():
    copying = Copying()
    a, b = copying.initiator(), copying.initiator(name="b")
    data = copy_list([cscd(copying.a), cscd(copying.b)], [segment(0, 1, 8, 0, 0)])
    task = a.send(extended_copy(data), data)
    copying.executor.run()
    copying.one.manage(ManagementFunction.ABORT_TASK, a.nexus, 0, task.tag)
    assert a.released == []
    late = b.send("2a000000000000000100", bytes([7]) * BLOCK, lun=1)
    assert late not in b.ended
    copying.finish()
    assert a.released == [task]
    assert copying.b.store.data[0] == 7


@pytest.mark.parametrize("how", ["session", "source", "destination"])
def test_the_end_of_what_it_needs_ends_it(how):
    copying = Copying()
    a = copying.initiator()
    there = copying.initiator(copying.two)
    data = copy_list([cscd(copying.b), cscd(copying.c)], [segment(0, 1, 2 * MIB, 0, 0)])
    task = a.send(extended_copy(data), data)
    copying.executor.run()
    copying.executor.run()
    if how == "session":
        copying.two.detach(there.nexus)
    elif how == "source":
        copying.one.remove_unit(1)
    else:
        copying.two.remove_unit(0)
    copying.finish()
    assert task.sense[2] == 0xA
    assert copying.domain.part(CopyManager).running == {}


@pytest.mark.parametrize("attribute", [1, 2, 3])
def test_ordered_tasks_and_a_copy_do_not_wait_for_each_other(copying, attribute):
    a, b = copying.initiator(), copying.initiator(name="b")
    data = copy_list([cscd(copying.a), cscd(copying.b)], [segment(0, 1, 2 * MIB, 0, 0)])
    task = a.begin(a.task(extended_copy(data), data, attribute=attribute), data)
    ordered = [b.send("2a000000000000000100", bytes(BLOCK), lun=lun, attribute=2) for lun in (0, 1)]
    copying.finish()
    assert task.status == 0
    assert task in a.ended
    assert [each.status for each in ordered] == [0, 0]
    assert all(each in b.ended for each in ordered)


def test_others_get_their_turn_between_two_pieces():
    copying = Copying(blocking=False)
    a, b = copying.initiator(), copying.initiator(name="b")
    data = copy_list([cscd(copying.a), cscd(copying.b)], [segment(0, 1, 4 * MIB - 1, 0, 0)])
    task = a.send(extended_copy(data), data)
    for _ in range(4):
        copying.executor.step()
        read = b.send("28000000100000000100")
        assert read in b.ended
        assert task not in a.ended
    copying.finish()
    assert task.status == 0


def test_list_identifiers_are_of_one_operation_at_a_time():
    copying = Copying()
    a, b = copying.initiator(), copying.initiator(name="b")
    data = copy_list([cscd(copying.a), cscd(copying.b)], [segment(0, 1, 1, 0, 0)])
    first = a.send(extended_copy(data), data)
    assert a.run(receive(0)).data == struct.pack(">IBHBI", 8, 0, 0, 0, 0)
    assert a.run(extended_copy(data), data).code == (5, 0x0016)
    assert b.run(receive(0)).code == CDB_FIELD
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
