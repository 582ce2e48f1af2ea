"""What one event costs the engine's thread, in nanoseconds: ``python benchmarks/trace_cost.py``.

Fires the four events of a 4 KB read (scsi-command, xfer-start, data-send with status, xfer-done) as the engine's call
sites do, with nobody attached, with a reader of each kind, and with two of them, and prints the time per event that
was recorded and per read. Where one reader is alone and wants them all, the first three events are one call, as in the
engine's fast path. The reader only says that it has read. The loop around the calls is measured empty and subtracted.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

from iscsitools.probes.firing import Probes
from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.probes.table import ALL_MASK
from iscsitools.trace.feed.ring import RingSink
from iscsitools.trace.record import decode
from iscsitools.trace.selection import Selection
from iscsitools.trace.sums.aggregate import CommandSums
from iscsitools.trace.sums.counts import EventCounts
from iscsitools.trace.sums.declared import HISTOGRAMS
from iscsitools.trace.sums.snapshot import strings_of

RECORDS = 65536
STRETCH = 20
"""Reads that come in one stretch of received bytes, about."""
CONN = ConnectionInfo(1, "192.0.2.1:3260", "192.0.2.7:50000", target="iqn.2026-11.example:a")
CDB = bytes.fromhex("28000000100000000800")
COMMAND = memoryview(
    bytearray.fromhex("01c00000000000000000000000000000000000010000100000000001") + bytes(4) + CDB + bytes(6)
)
COMMANDS = bytes(COMMAND[:48]) * STRETCH
DATA = memoryview(bytearray.fromhex("258100000000100000000000000000000000000100") + bytes(27))


def fire_reads(probes: Probes, count: int) -> None:
    conn, command, data, cdb = CONN, COMMAND, DATA, CDB
    mask, read = probes.mask, probes.read
    if probes.log is not None:
        for _ in range(count // STRETCH):
            log = probes.log(conn)
            assert log is not None
            began, clock = probes.clock(), probes.clock
            note = log[0].append
            for _ in range(STRETCH):
                note(clock())
            log[1].extend(COMMANDS)
            assert probes.logged is not None
            probes.logged(began, 1, 1)
            if mask & 1 << 17:
                probes.xfer(17, conn, 0, 1, 0xFFFFFFFF, 140000000000000, 0, 4096, 0)
        return
    if read is not None:
        for _ in range(count):
            read(probes.clock(), conn, 0, 0x2800, 1, 140000000000000, 4096, command, 0, data, 0)
            if mask & 1 << 17:
                probes.xfer(17, conn, 0, 1, 0xFFFFFFFF, 140000000000000, 0, 4096, 0)
        return
    for _ in range(count):
        if mask & 1 << 6:
            probes.pdu(6, conn, 0, command, 0, cdb)
        if mask & 1 << 16:
            probes.xfer(16, conn, 0, 1, 0xFFFFFFFF, 140000000000000, 0, 4096, 0)
        if mask & 1 << 8:
            probes.pdu(8, conn, 0, data)
        if mask & 1 << 17:
            probes.xfer(17, conn, 0, 1, 0xFFFFFFFF, 140000000000000, 0, 4096, 0)


def ring(records: int, mask: int = ALL_MASK) -> Callable[[Probes], Callable[[], None]]:
    def make(probes: Probes) -> Callable[[], None]:
        sink = RingSink(Selection(mask), records, lambda message: True, lambda message: True, lambda: None)
        probes.subscribe(mask, sink)

        def read() -> None:
            sink._word[0] = sink.written

        return read

    return make


def sums(probes: Probes) -> Callable[[], None]:
    subscriber = CommandSums(Selection())
    probes.subscribe(subscriber.mask, subscriber)
    return lambda: None


def all_sums(probes: Probes) -> Callable[[], None]:
    subscriber = CommandSums(Selection(), HISTOGRAMS)
    probes.subscribe(subscriber.mask, subscriber)
    return lambda: None


def counts(probes: Probes) -> Callable[[], None]:
    subscriber = EventCounts(Selection())
    probes.subscribe(subscriber.mask, subscriber)
    return lambda: None


def both(probes: Probes) -> Callable[[], None]:
    read = ring(RECORDS)(probes)
    sums(probes)
    return read


CASES: dict[str, tuple[int, Callable[[Probes], Callable[[], None]]]] = {
    "nobody attached": (4, lambda probes: lambda: None),
    "ring, all probes (record)": (4, ring(RECORDS)),
    "ring of 64 KB, all probes": (4, ring(512)),
    "ring, only what top needs": (2, ring(RECORDS, 1 << 6 | 1 << 7 | 1 << 8 | 1 << 9)),
    "sums (top, io, cmds, rwlat)": (2, sums),
    "sums with all histograms": (2, all_sums),
    "counts (who)": (4, counts),
    "ring and sums at once": (4, both),
}


def measure(make: Callable[[Probes], Callable[[], None]], rounds: int, reads: int) -> list[float]:
    """Nanoseconds per read, of each round."""
    probes = Probes(time.monotonic_ns)
    read = make(probes)
    times = []
    for _ in range(rounds):
        begin = time.thread_time_ns()
        for _ in range(reads // 100):
            fire_reads(probes, 100)
            read()
        times.append((time.thread_time_ns() - begin) / reads)
    return times


def decoding() -> float:
    """Nanoseconds of the reader per typed event."""
    probes = Probes(time.monotonic_ns)
    sink = RingSink(Selection(), RECORDS, lambda message: True, lambda message: True, lambda: None)
    probes.subscribe(ALL_MASK, sink)
    fire_reads(probes, 10000)
    block = bytes(sink._memory[: 40000 * 128])
    begin = time.thread_time_ns()
    for _ in decode(block, {(1, 0): strings_of(CONN)}):
        pass
    return (time.thread_time_ns() - begin) / 40000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--reads", type=int, default=20000)
    options = parser.parse_args()
    empty = min(measure(CASES["nobody attached"][1], options.rounds, options.reads))
    print(f"{'':30} {'least ns/read':>14} {'ns/event':>9} {'median ns/read':>15}")
    for name, (events, make) in CASES.items():
        times = measure(make, options.rounds, options.reads)
        cost = min(times) - empty
        print(f"{name:30} {cost:14.0f} {cost / events:9.0f} {statistics.median(times) - empty:15.0f}")
    print(f"{'decode (in the reader)':30} {'':14} {decoding():9.0f}")


if __name__ == "__main__":
    main()
