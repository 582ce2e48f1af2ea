"""The same bytes to both data paths: every answer, event and counter has to be the same.

    python tests/datapath/differential.py [--seconds N] [--seed N]

A world is a target over one of the two paths, with two sessions and with watchers that come and go. Each step is done
to two worlds; what both have sent, fired and counted is compared after it, and the disks at the end of a round. A round
is made of its seed, which a difference is reported with.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from engine import fuzz, harness
from engine.harness import Target, Wire
from engine.test_forms import read6, read10, read12, read16

from datapath.tracing import Tracing
from iscsitools.backstores.base import Backstore
from iscsitools.backstores.file import FileBackstore
from iscsitools.backstores.null import NullBackstore
from iscsitools.backstores.ram import RamBackstore
from iscsitools.initiator.pdu import NO_TAG, Opcode, Pdu, encode_lun, make_bhs
from iscsitools.iscsi.connection.datapath import DataPath
from iscsitools.iscsi.connection.memory import RECEIVE_SIZE
from iscsitools.probes.subscribers import Buffer, Calls, ConnectionInfo, Mark, Xfer
from iscsitools.probes.table import Probe
from iscsitools.server.data_path import native, tracers_of

SIZE = 4 << 20
BLOCKS = SIZE // 512
STEPS = 40
RESERVE, RELEASE = b"\x16" + bytes(5), b"\x17" + bytes(5)
LENGTHS = (0, 1, 1, 7, 8, 8, 8, 16, 32, 64, 128, 255, 256, 300, 512, 700, 1024, 1500)


class OwnMethods(RamBackstore):
    """Reached by its methods alone. Some calls fail, some would have to wait."""

    @staticmethod
    def _how(offset: int) -> bool:
        """By the place: a data path may ask once more often than a task."""
        if offset // 4096 % 13 == 5:
            raise OSError(5, "Input/output error")
        return offset // 4096 % 7 != 3

    def try_read_into(self, offset: int, buffer: memoryview) -> bool:
        return self._how(offset) and super().try_read_into(offset, buffer)

    def try_write(self, offset: int, buffer: memoryview) -> bool:
        return self._how(offset) and super().try_write(offset, buffer)


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
    begun: dict[tuple[int, int, int], int] = field(default_factory=dict)
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
        nobody saw has an address that says nothing.
        """
        transfer = conn.ident, itt, offset
        if probe == Probe.XFER_START:
            self.begun[transfer] = address
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


Made = tuple[int, bytes, tuple[int, ...]]


class Round:
    """One seed's worth of steps, done to both worlds."""

    def __init__(self, seed: int, folder: str, python: type[DataPath], other: type[DataPath]) -> None:
        self.rng = random.Random(seed)
        self.window = self.rng.choice((1, 4, 128))
        self.traced = self.rng.random() < 0.5
        kind = self.rng.choice((FileBackstore, FileBackstore, RamBackstore, NullBackstore, OwnMethods))
        if kind is OwnMethods:
            self.traced = False  # READ(6) is a task in Python then, so that other calls would fail
        keys = fuzz.keys(self.rng)
        if self.rng.random() < 0.7:  # mostly what lets the data path serve writes
            keys |= {"ImmediateData": "Yes", "FirstBurstLength": "65536", "MaxBurstLength": "262144"}
        self.unasked = int(keys["FirstBurstLength"]) if keys["InitialR2T"] == "No" else 0
        self.asked: tuple[list[Pdu], list[Pdu]] = ([], [])
        """R2Ts of each session that have not been answered."""
        self.busy: int | None = None
        """The tag of a task of the session whose turn it is, if it has one."""
        self.immediate = int(keys["FirstBurstLength"]) if keys["ImmediateData"] == "Yes" else 0
        content = self.rng.randbytes(SIZE // 2) + bytes(SIZE // 2)
        self.worlds = [
            self.make(path, self.disk(kind, f"{folder}/{name}", content), keys)
            for name, path in (("python", python), ("native", other))
        ]

    @staticmethod
    def disk(kind: type[Backstore], name: str, content: bytes) -> Backstore:
        if kind is FileBackstore:
            Path(name).write_bytes(content)
            store: Backstore = FileBackstore(name)
            # A write that this machine made wait for 20 ms would send those after it another way, in one world only.
            store._spare_the_loop = lambda begin, end: None  # type: ignore[method-assign]
        else:
            store = kind(str(SIZE))  # type: ignore[call-arg]
        store.open()
        if isinstance(store, FileBackstore):
            store._calls = None  # no ring: what waits for the disk ends in any order (test_flights.py has that)
        if kind is not FileBackstore:
            store.write(0, memoryview(content)[: SIZE // 2])  # a disk in memory has no chunks behind that
        return store

    def make(self, path: type[DataPath], disk: Backstore, keys: dict[str, str]) -> World:
        harness.data_path = path
        world = World(Target(disk=disk, window=self.window))
        if self.traced:
            world.trace(path)
        for isid in (0x400001370000, 0x400001370001):
            world.wires.append(world.target.session(keys, isid=isid))
        return world

    def run(self) -> None:
        """All steps; raises AssertionError at the first difference."""
        kinds = ((self.io, 20), (self.data, 16), (self.clear, 2), (self.watch, 3), (self.meddle, 3), (self.noise, 2))
        makers, weights = zip(*kinds, strict=True)
        for _ in range(STEPS):
            self.rng.choices(makers, weights)[0]()
            self.compare()
            if any(wire.conn.close_reason for wire in self.worlds[0].wires):
                break
        disks = [self.content(world.target.store) for world in self.worlds]
        assert disks[0] == disks[1], "the disks differ"
        for world in self.worlds:
            world.target.store.close()

    @staticmethod
    def content(store: Backstore) -> bytes:
        buffer = bytearray(SIZE)
        store.read_into(0, memoryview(buffer))
        return bytes(buffer)

    def compare(self) -> None:
        one, other = (world.state() for world in self.worlds)
        for left, right in zip(one, other, strict=False):
            assert left == right, f"\npython {short(left)}\nnative {short(right)}"
        assert len(one) == len(other), f"\npython {short(one)}\nnative {short(other)}"

    def feed(self, number: int, made: Callable[[Wire], bytes]) -> None:
        """Give a session of each world the same bytes, cut in the same way, and keep what it sends."""
        piece = self.rng.choice((0, 0, 0, 1000, 5000, 70000))
        at_once = self.rng.random() < 0.7
        self.busy = next(iter(self.worlds[0].wires[number].conn.commands), None)
        for world in self.worlds:
            wire = world.wires[number]
            state = self.rng.getstate()
            data = made(wire)
            if world is self.worlds[0]:
                self.rng.setstate(state)
            for part in (data,) if at_once else (data[: len(data) // 2], data[len(data) // 2 :]):
                sent = fuzz_feed(wire, part, piece)
                pdus = cut(wire, sent)
                world.seen += [("sent", pdu.bhs, pdu.data) for pdu in pdus]
                if world is self.worlds[0]:
                    self.asked[number].extend(pdu for pdu in pdus if pdu.opcode == Opcode.R2T)

    # -- steps

    def io(self) -> None:
        """A batch of READs and WRITEs, as dense as an initiator sends them, not all of them right."""
        self.feed(
            self.rng.randrange(2), lambda wire: b"".join(self.one(wire) for _ in range(self.rng.randrange(1, 40)))
        )

    def clear(self) -> None:
        """ABORT TASK SET, when something waits for data: it keeps the gates closed."""

        def made(wire: Wire) -> bytes:
            fields = {"flags": 0x82, "itt": 0x7001, "cmd_sn": wire.cmd_sn, "lun": encode_lun(0)}
            return wire.seal(make_bhs(Opcode.TASK_REQUEST, immediate=True, **fields))

        for number, wire in enumerate(self.worlds[0].wires):
            if wire.conn.commands:
                self.feed(number, made)
                self.asked[number].clear()

    def data(self) -> None:
        """What R2Ts have asked for, mostly as it should be; or only a part of it for now."""
        number = self.rng.choice([0, 1] if all(self.asked) else [0] if self.asked[0] else [1])
        asked = self.asked[number]
        r2ts = [asked.pop(self.rng.choice((0, 0, 0, -1))) for _ in range(min(len(asked), self.rng.randrange(1, 12)))]
        if r2ts:
            self.feed(number, lambda wire: b"".join(self.answer(wire, r2t) for r2t in r2ts))

    def answer(self, wire: Wire, r2t: Pdu) -> bytes:
        """The Data-Outs of one R2T."""
        end = r2t.buffer_offset + r2t.desired_length + self.rng.choice((0,) * 60 + (-4, 512))
        return self.data_outs(wire, r2t.itt, r2t.buffer_offset, end, r2t.ttt)

    def data_outs(self, wire: Wire, itt: int, begin: int, end: int, ttt: int = NO_TAG) -> bytes:
        """A sequence of Data-Outs, hardly ever with one that is missing, or has something wrong."""
        rng, out = self.rng, bytearray()
        step = rng.choice((512, 4096, 8192, 9000, 65536, 262144))
        for sn, offset in enumerate(range(begin, end, step)):
            data = rng.randbytes(min(step, end - offset))
            wrong = rng.random()
            pdu = wire.data_out(
                itt, data, offset + 4 * (wrong < 0.002), ttt=ttt, sn=sn + (wrong > 0.998), final=offset + step >= end
            )
            out += b"" if 0.5 < wrong < 0.502 else self.spoiled(wire, pdu)
        return bytes(out)

    def one(self, wire: Wire) -> bytes:
        rng = self.rng
        make = rng.choice((read6, read10, read10, read10, read10, read12, read16, read16))
        blocks = rng.choice(LENGTHS)
        writes = rng.random() < 0.5
        if writes and rng.random() < 0.7:
            blocks = min(blocks, self.immediate // 512)
        lba = rng.choice(
            (rng.randrange(BLOCKS), rng.randrange(BLOCKS - 2000), 0, 8 * rng.randrange(900), BLOCKS - blocks)
        )
        blocks = min(blocks, 255) if make is read6 else blocks
        cdb = bytearray(make(lba & 0x1FFFFF, blocks, rng.choice((0,) * 8 + (0x10, 0x08, 0x18, 0x20, 0x01))))
        if rng.random() < 0.03:
            cdb[rng.randrange(len(cdb))] ^= 1 << rng.randrange(8)
        blocks = blocks or (256 if make is read6 else 0)
        edtl = rng.choice((blocks * 512,) * 30 + (0, blocks * 512 + 100))
        attribute = rng.choice((1,) * 12 + (0, 2, 3))
        fields: dict[str, int] = {"edtl": edtl, "flags": (0xA0 if writes else 0xC0) | attribute}
        if rng.random() < 0.02:
            busy = wire.itt if self.busy is None else self.busy
            fields |= rng.choice(
                (
                    {"itt": busy},
                    {"itt": busy},
                    {"lun": encode_lun(1)},
                    {"itt": wire.itt},
                    {"itt": NO_TAG},
                    {"flags": 0xE1},
                )
            )
        if writes:
            cdb[0] |= 2
            return self.write(wire, bytes(cdb), edtl, fields)
        return self.spoiled(wire, wire.request(bytes(cdb), **fields))

    def write(self, wire: Wire, cdb: bytes, edtl: int, fields: dict[str, int]) -> bytes:
        """With all of its data, or as much as may come unasked, or less: the rest by R2Ts."""
        rng = self.rng
        data = rng.randbytes(min(edtl, self.immediate, rng.choice((1 << 24,) * 6 + (4096, 512, 0, 0))))
        unasked = min(edtl, self.unasked)
        if len(data) >= unasked or rng.random() < 0.4:
            return self.spoiled(wire, wire.request(cdb, write=data, **fields))
        fields["flags"] &= 0x7F
        command = wire.request(cdb, write=data, **fields)
        return self.spoiled(wire, command) + self.data_outs(wire, fields.get("itt", wire.itt), len(data), unasked)

    def spoiled(self, wire: Wire, pdu: bytes) -> bytes:
        """Mostly as it is; a wrong digest, a command out of its turn, or one that comes late."""
        chance = self.rng.random()
        if chance < 0.01 and wire.data_digest and any(pdu[5:8]):
            return pdu[:-1] + bytes([pdu[-1] ^ 1]) + pdu  # and the right one, or nothing would go on
        if chance < 0.0105 and wire.header_digest:
            return pdu[:48] + bytes([pdu[48] ^ 1]) + pdu[49:]
        if chance < 0.02 and not any(pdu[5:8]):
            return wire.request(read10(0, 1), read=512) + pdu  # this one's turn is over: it comes after the next
        return pdu

    def watch(self) -> None:
        if self.traced and self.rng.random() < 0.7:
            ring, sums = self.rng.random() < 0.7, self.rng.random() < 0.7
            for world in self.worlds:
                assert world.tracing is not None
                world.tracing.attach(ring, sums)
            return
        number = self.rng.randrange(2)
        mask = self.rng.choice((0, 0, 0xFFFFF, self.rng.getrandbits(20)))
        direct = number == 0
        for world in self.worlds:
            world.watch(number, mask, direct)

    def meddle(self) -> None:
        """Change the unit's state: reservations, its size, what the initiator's text says."""
        what, number = self.rng.randrange(4), self.rng.randrange(2)
        if what < 2:
            cdb = self.rng.choice((RESERVE, RELEASE, RELEASE))
            self.feed(number, lambda wire: wire.request(cdb))
            return
        blocks = self.rng.choice((BLOCKS, BLOCKS, BLOCKS - 100))
        for world in self.worlds:
            world.target.unit.blocks = blocks
            world.target.unit.refresh()

    def noise(self) -> None:
        """A ping, and a command that is no READ."""

        def made(wire: Wire) -> bytes:
            bhs = make_bhs(Opcode.NOP_OUT, immediate=True, itt=0x7000, ttt=NO_TAG, cmd_sn=wire.cmd_sn)
            return wire.seal(bhs) + wire.request(bytes(6))

        self.feed(self.rng.randrange(2), made)


def ends_sorted(seen: list[tuple[object, ...]]) -> Iterator[object]:
    """What was seen. Ends of transfers, one behind the other, of tasks that one thing ended, have no order."""
    for is_end, events in itertools.groupby(seen, lambda event: event[:2] == ("xfer", Probe.XFER_DONE)):
        run: list[Any] = list(events)
        yield from sorted(repr((*end[:2], *end[3:])) for end in run) if is_end else run


def short(what: object) -> str:
    """Something to print of what may be megabytes."""
    text = repr(what)
    return text if len(text) < 500 else f"{text[:500]}... ({zlib.crc32(text.encode()):08x})"


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


def fuzz_feed(wire: Wire, data: bytes, piece: int) -> bytes:
    """Give the engine bytes and take all that it sends, whenever it waits for that."""
    conn, now, out, at = wire.conn, wire.target.now, bytearray(), 0
    while at < len(data) and not conn.close_reason:
        count = 0
        for buffer in conn.get_buffers():
            part = data[at : at + min(len(buffer), piece - count if piece else len(buffer))]
            buffer[: len(part)] = part
            at += len(part)
            count += len(part)
        conn.received(count, now)
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


def check(seed: int, python: type[DataPath], other: type[DataPath]) -> None:
    """One round; AssertionError where the two differ."""
    with tempfile.TemporaryDirectory(prefix="it-twins-") as folder:
        before = harness.data_path
        try:
            Round(seed, folder, python, other).run()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        finally:
            harness.data_path = before  # other tests serve by it


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="for so long (default 60)")
    parser.add_argument("--seed", type=int, help="this round only")
    arguments: Any = parser.parse_args()
    other = native()
    if arguments.seed is not None:
        check(arguments.seed, DataPath, other)
        return 0
    first = seed = random.SystemRandom().randrange(1 << 32)
    end = time.monotonic() + arguments.seconds
    while time.monotonic() < end:
        check(seed, DataPath, other)
        seed += 1
    print(f"{seed - first} rounds from seed {first}: no difference")
    return 0


if __name__ == "__main__":
    sys.exit(main())
