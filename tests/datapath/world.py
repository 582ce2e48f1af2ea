"""A target over one data path, what is seen of it, and what an initiator's end does with it."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from engine.harness import Target, Wire

from datapath.tracing import Tracing
from iscsitools.initiator.pdu import Pdu
from iscsitools.iscsi.connection.datapath import DataPath
from iscsitools.iscsi.connection.memory import RECEIVE_SIZE
from iscsitools.probes.subscribers import Buffer, Calls, ConnectionInfo, Mark, Xfer
from iscsitools.probes.table import Probe
from iscsitools.server.data_path import tracers_of


class Watcher:
    """Keeps each event by itself."""

    def __init__(self, world: World) -> None:
        self.world = world

    def on_pdu(self, *event: object) -> None:
        probe, now, conn, *rest = event
        assert isinstance(conn, ConnectionInfo)
        self.world.seen.append(("pdu", probe, now, conn.ident, *rest))

    def on_xfer(self, probe: int, now: int, conn: ConnectionInfo, lun: int, xfer: Xfer) -> None:
        self.world.seen.append(
            ("xfer", probe, now, conn.ident, lun, xfer._replace(laddr=0),
             self.world.moved(probe, conn, xfer.itt, xfer.loffset, xfer.laddr))
        )  # fmt: skip


class DirectWatcher(Watcher):
    """Keeps whole commands, as the ring of the live trace does."""

    def direct(self, clock: Callable[[], int], fail: Callable[[Exception], None]) -> Calls:
        return Calls(self.pdu, self.xfer, self.read, self.write, self.sent)

    def _keep(self, *what: object) -> None:
        self.world.seen.append(tuple(w.ident if isinstance(w, ConnectionInfo) else w for w in what))

    def pdu(
        self, probe: int, conn: ConnectionInfo, lun: int, buffer: Buffer, offset: int = 0, cdb: bytes = b"",
        sense: int = 0,
    ) -> None:  # fmt: skip
        self._keep("pdu", int(probe), conn, lun, bytes(buffer[offset : offset + 48]), cdb, sense)

    def xfer(
        self, probe: int, conn: ConnectionInfo, lun: int, itt: int, ttt: int, laddr: int, loffset: int, length: int,
        kind: int,
    ) -> None:  # fmt: skip
        place = self.world.moved(probe, conn, itt, loffset, laddr)
        self._keep("xfer", int(probe), conn, lun, itt, ttt, place, loffset, length, kind)

    def read(
        self, began: int, conn: ConnectionInfo, lun: int, operation: int, itt: int, address: int, length: int,
        request: Buffer, at: int, answer: Buffer, answer_at: int,
    ) -> None:  # fmt: skip
        place = self.world.moved(Probe.XFER_START, conn, itt, 0, address)
        self._keep("read", began, conn, lun, operation, itt, place, length,
                   bytes(request[at : at + 48]), bytes(answer[answer_at : answer_at + 48]))  # fmt: skip

    def write(
        self, began: int, started: int, moved: int, conn: ConnectionInfo, lun: int, operation: int, itt: int,
        address: int, length: int, request: Buffer, at: int, answer: Buffer, answer_at: int,
    ) -> None:  # fmt: skip
        self._keep("write", began, started, moved, conn, lun, operation, itt, self.world.place(address), length,
                   bytes(request[at : at + 48]), bytes(answer[answer_at : answer_at + 48]))  # fmt: skip

    def sent(self, conn: ConnectionInfo, marks: deque[Mark], upto: int) -> None:
        while marks and marks[0][0] <= upto:
            end, lun, itt, address, offset, length = marks.popleft()
            place = self.world.moved(Probe.XFER_DONE, conn, itt, offset, address)
            self._keep("sent", conn, end, lun, itt, place, offset, length)


@dataclass
class World:
    """A target over one data path, and what was seen of it."""

    target: Target
    wires: list[Wire] = field(default_factory=list)
    seen: list[tuple[object, ...]] = field(default_factory=list)
    watchers: dict[int, Watcher] = field(default_factory=dict)
    now: int = 0
    step: int = 1_000_000
    begun: dict[tuple[int, int, int], int | None] = field(default_factory=dict)
    """By connection, tag and offset, where the memory of a transfer is; None: there are two of them."""
    tracing: Tracing | None = None

    def __post_init__(self) -> None:
        self.target.probes.clock = self.tick

    def trace(self, path: type[DataPath]) -> None:
        """Have a ring and sums beside the watchers. In C all share one look at the clock: so it stands in a step."""
        self.target.probes.clock = lambda: self.step
        self.tracing = Tracing(self.target.probes, tracers_of(path))

    def tick(self) -> int:
        """Another time at each look: that there are as many looks is compared too."""
        self.now += 1
        return self.now

    def place(self, address: int) -> object:
        """Where an address is, as far as that is the same in both worlds."""
        buffers = self.target.buffers
        if 0 <= address - buffers.receive_address < RECEIVE_SIZE:
            return "receive", address - buffers.receive_address
        for wire in self.wires:
            chunk = wire.conn.path.chunk
            if chunk is not None and 0 <= address - chunk.address < len(chunk.data):
                return "chunk", address - chunk.address
        return "elsewhere"

    def moved(self, probe: int, conn: ConnectionInfo, itt: int, offset: int, address: int) -> object:
        """Where the memory of a transfer is, at its start; at its end, whether it is said to be the same.

        When a read has left, its memory may be another's, of which nobody knows by the address. An end whose start
        nobody saw has an address that says nothing; nor have the ends of two that a tag has which came again too soon.
        """
        transfer = conn.ident, itt, offset
        if probe == Probe.XFER_START:
            self.begun[transfer] = None if transfer in self.begun else address
            return self.place(address)
        begun = self.begun.pop(transfer, None)
        return "unknown" if begun is None else begun == address

    def watch(self, number: int, mask: int, direct: bool) -> None:
        """Have a watcher look at the probes of a mask, or at none."""
        found = self.watchers.setdefault(number, (DirectWatcher if direct else Watcher)(self))
        self.target.probes.subscribe(mask, found)

    def state(self) -> list[object]:
        """All that has been seen since the last time, and the numbers."""
        found: list[object] = [*ends_sorted(self.seen), self.target.store.unflushed]
        self.step += 1000
        self.seen.clear()
        if self.tracing is not None:
            found += self.tracing.state()
        for wire in self.wires:
            path, conn = wire.conn.path, wire.conn
            found.append((
                path.exp_cmdsn, path.max_cmdsn, path.statsn, path.commands, path.read_bytes, path.written_bytes,
                path.chunk_begin + path.tail, path.in_order, path.fired, len(path.marks), conn.close_reason,
                conn.stalled, conn.unfinished, conn.out.unsent(), conn.memory.held, self.now,
            ))  # fmt: skip
        return found


def ends_sorted(seen: list[tuple[object, ...]]) -> Iterator[object]:
    """What was seen. Ends of transfers, one behind the other, of tasks that one thing ended, have no order."""
    for is_end, events in itertools.groupby(seen, lambda event: event[:2] == ("xfer", Probe.XFER_DONE)):
        run: list[Any] = list(events)
        yield from sorted(repr((*end[:2], *end[3:])) for end in run) if is_end else run


def cut(wire: Wire, sent: bytes) -> list[Pdu]:
    """The PDUs of what was sent; digests belong to the data."""
    head = 48 + 4 * wire.header_digest
    found, at = [], 0
    while at < len(sent):
        length = int.from_bytes(sent[at + 5 : at + 8], "big")
        end = at + head + (length + 3 & ~3) + (4 if wire.data_digest and length else 0)
        found.append(Pdu(sent[at : at + 48], b"", sent[at + 48 : end]))
        at = end
    return found


def feed(wire: Wire, data: bytes, piece: int) -> bytes:
    """Give the engine bytes and take all that it sends, whenever it waits for that."""
    out, at = bytearray(), 0
    while at < len(data) and not wire.conn.close_reason:
        at += wire.put(data, at, piece)
        out += drain(wire)
    return bytes(out)


def drain(wire: Wire) -> bytes:
    """All of the output, and what the engine does when it is gone."""
    conn, now, out = wire.conn, wire.target.now, bytearray()
    while True:
        pieces = conn.output()
        data = b"".join(bytes(piece) for piece in pieces)
        out += data
        conn.sent(len(data), now)
        if conn.stalled or conn.unfinished:
            conn.go_on(now)
        elif not data:
            return bytes(out)
