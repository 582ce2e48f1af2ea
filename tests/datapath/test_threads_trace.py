"""Data threads that fire into tracers, by themselves: sums, rings, and what waits in a socket."""

from __future__ import annotations

import mmap
import socket
import sys
import threading
import time
from collections import Counter
from types import ModuleType
from typing import Any

import pytest

from iscsitools.backstores.ram import RamBackstore
from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.probes.table import Probe
from iscsitools.trace.client.record_ring import Merged, RecordRing
from iscsitools.trace.protocol import HEADER
from iscsitools.trace.record import SIZE, WHOLE
from iscsitools.trace.selection import Selection
from iscsitools.trace.sums.declared import wanted
from iscsitools.trace.sums.native import NativeSums

from .bench import BLOCK, Wire, returned
from .bench import SIZE as DISK

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="data threads need epoll")
EVERYTHING = (1 << 20) - 1
RECORDS = 4096


class Rings:
    """The rings of two threads, and their reader, who reads what threads have left behind.

    The thread sanitizer does not see the numbers by which a reader in Python knows that a record is there.
    """

    def __init__(self, module: ModuleType, wants: bool = True) -> None:
        size = HEADER + RECORDS * SIZE
        self.memory, self.page = mmap.mmap(-1, 2 * size), mmap.mmap(-1, mmap.PAGESIZE)
        self.failures: list[Exception] = []
        self.known: list[int] = []

        def introduce(conn: Any) -> bool:
            self.known.append(conn.ident)
            return wants

        self.tracers = [
            module.RingTracer(
                self.memory, number * size + HEADER, introduce, None, self.failures.append, None, None, RECORDS,
                self.page, number, True,
            )
            for number in range(2)
        ]  # fmt: skip
        view, words = memoryview(self.memory), memoryview(self.page).cast("Q")
        rings = [RecordRing(view[n * size : (n + 1) * size], words[n : n + 1]) for n in range(2)]
        self.rings, self.merged = rings, Merged(rings)

    def read(self) -> list[tuple[Any, ...]]:
        """All records."""
        return list(WHOLE.iter_unpack(self.merged.take(time.monotonic_ns(), 10**9)))


def make_sums(module: ModuleType, failures: list[Exception]) -> tuple[NativeSums, Any]:
    sums = NativeSums(Selection(), wanted(["size", "depth", "seek", "sending", "backstore", "lba"]), busy=True)
    return sums, sums.native(module, None, failures.append)


def test_events_of_two_threads_are_merged_by_time(module: ModuleType, threads: list[Any], ram: RamBackstore) -> None:
    rings = Rings(module)
    wires = [Wire(module, ram, number) for number in (1, 2)]
    for wire, thread, ring in zip(wires, threads, rings.tracers, strict=True):
        wire.tracers = module.Tracers(None, ((EVERYTHING, ring),))
        wire.lend(thread)
    for number in range(101):
        for wire in wires:
            wire.ours.sendall(wire.write(number, bytes(BLOCK)) + wire.read(number, 8))
        for wire in wires:
            wire.answers(2)
    for wire, thread in zip(wires, threads, strict=True):
        wire.take(thread.recall(wire.path))
        wire.close()
    records = rings.read()
    times = [record[1] for record in records]
    assert times == sorted(times)
    assert rings.merged.given == [101 * 8, 101 * 8]
    assert Counter(record[3] for record in records) == {1: 101 * 8, 2: 101 * 8}
    write = [Probe.SCSI_COMMAND, Probe.XFER_START, Probe.XFER_DONE, Probe.SCSI_RESPONSE]
    read = [Probe.SCSI_COMMAND, Probe.XFER_START, Probe.DATA_SEND, Probe.XFER_DONE]
    for ident in (1, 2):
        probes = [record[5] for record in records if record[3] == ident]
        # xfer-done of a read is when the socket has it: behind the batch, as the loop's thread has it.
        assert Counter(probes) == {probe: 101 * (write.count(probe) + read.count(probe)) for probe in {*write, *read}}
        assert probes[:4] == write
    assert rings.known == [1, 2]
    assert not rings.failures


def test_who_is_not_wanted_leaves_no_record(module: ModuleType, threads: list[Any], ram: RamBackstore) -> None:
    rings, wire = Rings(module, wants=False), Wire(module, ram)
    wire.tracers = module.Tracers(None, ((EVERYTHING, rings.tracers[0]),))
    wire.lend(threads[0])
    wire.ours.sendall(wire.read(0, 8))
    wire.answers(1)
    wire.take(threads[0].recall(wire.path))
    wire.close()
    assert rings.tracers[0].written == 0


def test_a_full_ring_counts_what_it_has_no_room_for(module: ModuleType, threads: list[Any], ram: RamBackstore) -> None:
    rings, wire = Rings(module), Wire(module, ram)
    wire.tracers = module.Tracers(None, ((EVERYTHING, rings.tracers[1]),))
    wire.lend(threads[1])
    for _ in range(RECORDS // 4 + 53):
        wire.ours.sendall(wire.read(0, 1))
        wire.answers(1)
    wire.take(threads[1].recall(wire.path))
    wire.close()
    assert rings.tracers[1].written == RECORDS
    assert rings.rings[1].drops == rings.tracers[1].drops == 53 * 4
    assert len(rings.read()) == RECORDS


def test_a_read_ends_its_transfer_when_its_socket_has_it(
    module: ModuleType, threads: list[Any], ram: RamBackstore
) -> None:
    """What the socket does not take goes back with the connection, and its transfers are open."""
    rings, wire = Rings(module), Wire(module, ram)
    wire.tracers = module.Tracers(None, ((EVERYTHING, rings.tracers[0]),))
    wire.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
    wire.lend(threads[0])
    reads = 40
    wire.ours.sendall(b"".join(wire.read(0, 512) for _ in range(reads)))  # 256 KiB each: more than the socket takes
    while not rings.tracers[0].written:
        time.sleep(0.001)
    wire.take(threads[0].recall(wire.path))
    done = Counter(record[5] for record in rings.read())
    assert wire.unsent
    assert 0 < len(wire.path.marks) == done[Probe.DATA_SEND] - done[Probe.XFER_DONE]
    wire.path.marks.clear()
    wire.close()


def test_a_command_that_goes_back_was_told_of_once(module: ModuleType, threads: list[Any]) -> None:
    """A chunk of ``ram`` that is not there: the thread has told of the command, and cannot write it."""
    store = RamBackstore(str(DISK))
    rings, wire = Rings(module), Wire(module, store)
    wire.tracers = module.Tracers(None, ((EVERYTHING, rings.tracers[0]),))
    wire.lend(threads[0])
    wire.ours.sendall(wire.write(0, b"x" * BLOCK))
    (rest,) = returned(threads[0])
    wire.take(rest)
    told = [record[5] for record in rings.read()]
    assert told == [Probe.SCSI_COMMAND, Probe.XFER_START, Probe.XFER_DONE]
    assert wire.path.fired == 2  # FIRED_TRANSFER: what serves it now fires its response alone
    wire.close()
    store.close()


def test_sums_are_read_while_two_threads_count(module: ModuleType, threads: list[Any], ram: RamBackstore) -> None:
    failures: list[Exception] = []
    sums, tracer = make_sums(module, failures)
    wires = [Wire(module, ram, number) for number in (1, 2)]
    for number, (wire, thread) in enumerate(zip(wires, threads, strict=True)):
        wire.tracers = module.Tracers(None, ((sums.mask, sums.of_thread(number)),))
        wire.lend(thread)
    commands = 1009

    def work(wire: Wire) -> None:
        for number in range(commands):
            wire.ours.sendall(wire.write(number % 64, bytes(BLOCK)) if number % 2 else wire.read(number % 64, 8))
            wire.answers(1)

    helpers = [threading.Thread(target=work, args=(wire,)) for wire in wires]
    for helper in helpers:
        helper.start()
    found = []
    while any(helper.is_alive() for helper in helpers):
        found += [cell for _, cell in sums.read(reset=True)]
        sums.busy(reset=True)
        assert sums.held()
        sums.under_way()
        tracer.forget(1, 77)
        tracer.forget_all(2, 99)
    for wire, thread in zip(wires, threads, strict=True):
        wire.take(thread.recall(wire.path))
    found += [cell for _, cell in sums.read(reset=True)]
    assert sum(cell.commands for cell in found) == sum(cell.ended for cell in found) == 2 * commands
    assert sum(sum(cell.histogram.values()) for cell in found) == 2 * commands
    assert sum(cell.in_bytes for cell in found) == 2 * 8 * BLOCK * (commands // 2 + 1)
    assert sum(cell.out_bytes for cell in found) == 2 * BLOCK * (commands // 2)
    by_name = [
        {
            declared.name: sum(kept.counts.values())
            for declared, kept in zip(sums.histograms, cell.histograms, strict=True)
        }
        for cell in found
    ]
    assert sum(one["depth"] for one in by_name) == 2 * commands
    assert sum(one["seek"] for one in by_name) == 2 * commands - 2
    assert not failures
    for wire in wires:
        wire.close()


def test_rows_run_out_for_all_threads_together(module: ModuleType, threads: list[Any], ram: RamBackstore) -> None:
    failures: list[Exception] = []
    sums, tracer = make_sums(module, failures)
    wires = [Wire(module, ram, number) for number in (1, 2)]
    full = ConnectionInfo(9)
    for number in range(2048):
        tracer.pdu(Probe.SCSI_COMMAND, full, number, bytes([1, 0x80]) + bytes(46), 0, bytes(6))
    for number, (wire, thread) in enumerate(zip(wires, threads, strict=True)):
        wire.tracers = module.Tracers(None, ((sums.mask, sums.of_thread(number)),))
        wire.lend(thread)
        wire.ours.sendall(wire.read(0, 1) + wire.read(1, 1))
        wire.answers(2)
        wire.take(thread.recall(wire.path))
        wire.close()
    rows = sums.read()
    (nobody,) = [cell for info, cell in rows if info.ident == 0]
    assert len(rows) == 2049
    assert (nobody.commands, nobody.ended, nobody.in_bytes) == (4, 4, 4 * BLOCK)
