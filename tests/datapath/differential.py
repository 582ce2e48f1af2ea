"""The same bytes to both data paths: every answer, event and counter has to be the same.

    python tests/datapath/differential.py [--seconds N] [--first N] [--seed N]

A world is a target over one of the two paths, with two sessions and with watchers that come and go. Each step is done
to two worlds; what both have sent, fired and counted is compared after it, and the disks at the end of a round. A round
is made of its seed, which a difference is reported with; the whole difference is kept in ``build/twins``.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from engine import fuzz, harness
from engine.harness import Target, Wire
from support.kept import keep

from datapath.random_io import BLOCKS, SIZE, Maker
from datapath.world import World, cut, feed
from iscsitools.backstores.base import Backstore
from iscsitools.backstores.file import FileBackstore
from iscsitools.backstores.null import NullBackstore
from iscsitools.backstores.ram import RamBackstore
from iscsitools.initiator.pdu import NO_TAG, Opcode, Pdu, encode_lun, make_bhs
from iscsitools.iscsi.connection.datapath import DataPath
from iscsitools.server.data_path import native

STEPS = 40
RESERVE, RELEASE = b"\x16" + bytes(5), b"\x17" + bytes(5)


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
        self.asked: tuple[list[Pdu], list[Pdu]] = ([], [])
        """R2Ts of each session that have not been answered."""
        first = int(keys["FirstBurstLength"])
        self.maker = Maker(
            self.rng,
            immediate=first if keys["ImmediateData"] == "Yes" else 0,
            unasked=first if keys["InitialR2T"] == "No" else 0,
        )
        content = self.rng.randbytes(SIZE // 2) + bytes(SIZE // 2)
        self.worlds = [
            self.make(path, self.disk(kind, f"{folder}/{name}", content), keys)
            for name, path in (("python", python), ("native", other))
        ]
        if self.traced and self.rng.random() < 0.5:
            self.watch()

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
            assert left == right, apart(left, right)
        assert len(one) == len(other), apart(one, other)

    def feed(self, number: int, made: Callable[[Wire], bytes]) -> None:
        """Give a session of each world the same bytes, cut in the same way, and keep what it sends."""
        piece = self.rng.choice((0, 0, 0, 1000, 5000, 70000))
        at_once = self.rng.random() < 0.7
        self.maker.busy = next(iter(self.worlds[0].wires[number].conn.commands), None)
        for world in self.worlds:
            wire = world.wires[number]
            state = self.rng.getstate()
            data = made(wire)
            if world is self.worlds[0]:
                self.rng.setstate(state)
            for part in (data,) if at_once else (data[: len(data) // 2], data[len(data) // 2 :]):
                sent = feed(wire, part, piece)
                pdus = cut(wire, sent)
                world.seen += [("sent", pdu.bhs, pdu.data) for pdu in pdus]
                if world is self.worlds[0]:
                    self.asked[number].extend(pdu for pdu in pdus if pdu.opcode == Opcode.R2T)

    # -- steps

    def io(self) -> None:
        """A batch of READs and WRITEs, as dense as an initiator sends them, not all of them right."""
        self.feed(
            self.rng.randrange(2), lambda wire: b"".join(self.maker.one(wire) for _ in range(self.rng.randrange(1, 40)))
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
            self.feed(number, lambda wire: b"".join(self.maker.answer(wire, r2t) for r2t in r2ts))

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


def apart(left: object, right: object) -> str:
    """Where two things differ, which may be megabytes of text: the beginning of both, and what is around that place."""
    texts = repr(left), repr(right)
    at = next((at for at, (one, two) in enumerate(zip(*texts, strict=False)) if one != two), min(map(len, texts)))
    shown = (text if len(text) < 800 else f"{text[:300]} ... {text[max(300, at - 200) : at + 300]}" for text in texts)
    return "\npython {}\nnative {}".format(*shown)


def check(seed: int, python: type[DataPath], other: type[DataPath]) -> None:
    """One round; AssertionError with the seed where the two differ, or one of them breaks off."""
    with tempfile.TemporaryDirectory(prefix="it-twins-") as folder:
        before = harness.data_path
        try:
            Round(seed, folder, python, other).run()
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
        finally:
            harness.data_path = before  # other tests serve by it


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="for so long (default 60)")
    parser.add_argument("--first", type=int, help="the seed of the first round, one more for each next (default: any)")
    parser.add_argument("--seed", type=int, help="the round of this seed only")
    arguments: Any = parser.parse_args()
    other = native()
    logging.getLogger("iscsitools").setLevel(logging.CRITICAL)  # calls of a disk fail on purpose
    given = arguments.first if arguments.seed is None else arguments.seed
    first = seed = random.SystemRandom().randrange(1 << 32) if given is None else given
    end = time.monotonic() + arguments.seconds
    while seed == first or (arguments.seed is None and time.monotonic() < end):
        try:
            check(seed, DataPath, other)
        except AssertionError as error:
            print(keep("datapath", seed, f"python tests/datapath/differential.py --seed {seed}", error))
            return 1
        seed += 1
    print(f"{seed - first} rounds from seed {first}: no difference")
    return 0


if __name__ == "__main__":
    sys.exit(main())
