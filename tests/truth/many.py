"""Very many mixed commands, each event of which agrees with tshark.

    python tests/truth/many.py [--commands 1000000] [--data-path native] [--threads 2]

A round is some thousand commands of three sessions that agreed on different ways, with every other kind of PDU between
them, captured and traced at once. Then every field that tshark shows in all PDUs of a kind is compared, in order. What
tshark shows is learned from a first, short round, which it dissects in full.

With ``--threads`` a third of the commands of a round is sent beside the others by as many sessions as there are data
threads, plain READs and WRITEs, which those threads serve: the events come out of several rings.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support.target import RunningTarget, start_target

from iscsitools.initiator import Opcode, Session
from iscsitools.initiator.tasks import Task
from iscsitools.probes.table import Probe
from iscsitools.trace import Event, attach
from iscsitools.trace.client.live import RingTrace
from truth import work
from truth.capture import Capture
from truth.commands import watch_socket
from truth.fields import FIELDS, NOT_IN_THE_PROBE
from truth.kinds import CONFIG, KINDS, Stream, event_streams

ROUND = 20_000
DEPTH = 16
PLAIN_DEPTH = 4
AT_ONCE = 32 << 10
"""Bytes under way. What is sent at once is cut into segments of 64 KiB: where that is within the first bytes of a
header, tshark does not know the next segment for iSCSI, though all of it is in the capture."""
_KEYS: tuple[dict[str, str], ...] = (
    {},
    {"MaxRecvDataSegmentLength": "512", "InitialR2T": "Yes", "ImmediateData": "No"},
    {"MaxRecvDataSegmentLength": "4096", "FirstBurstLength": "16384"},
)
_OTHERWISE = ("scsi.lun", "iscsi.isid")
"""Fields that the short output writes in another way; test_tshark compares them."""
_SHARES = (0.7, 0.1, 0.2)
"""Of the commands: with 512 bytes in a PDU, few commands are many PDUs."""
_SIZES = (512,) * 20 + (4096,) * 24 + (8192,) * 4 + (20480, 32768)


def _cdb(rng: random.Random, write: bool, lba: int, blocks: int) -> bytes:
    """READ or WRITE of 6, 10, 12 or 16 bytes."""
    form = rng.choice((6, 10, 10, 10, 12, 16))
    if form == 6 and blocks < 256:
        return bytes([0x0A if write else 0x08]) + lba.to_bytes(3, "big") + bytes([blocks, 0])
    if form == 12:
        return bytes([0xAA if write else 0xA8, 0]) + lba.to_bytes(4, "big") + blocks.to_bytes(4, "big") + bytes(2)
    if form == 16:
        return bytes([0x8A if write else 0x88, 0]) + lba.to_bytes(8, "big") + blocks.to_bytes(4, "big") + bytes(2)
    return work.write10(lba, blocks) if write else work.read10(lba, blocks)


def commands(session: Session, rng: random.Random, count: int) -> None:
    """READs and WRITEs of all forms and ways, some of them wrong, others that move no data."""
    running: deque[tuple[Task, int]] = deque()
    for _ in range(count):
        lun, block = rng.choice(((work.SMALL, 512), (work.SMALL, 512), (work.LARGE, 4096), (work.FAR, 512)))
        chance, size = rng.random(), max(block, rng.choice(_SIZES))
        lba, blocks = rng.randrange(64), size // block
        if chance < 0.05:
            task = session.start_command(bytes(6), rng.choice((lun, 77)))
        elif chance < 0.07:
            task = session.start_command(work.read10(0xFFFFFFF0, 8), lun, read=4096)
        elif chance < 0.55:
            task = session.start_command(_cdb(rng, False, lba, blocks), lun, read=size)
        else:
            way = {
                "immediate": session.agreed.immediate_data and rng.random() < 0.7,
                "unsolicited": not session.agreed.initial_r2t and rng.random() < 0.5,
            }
            task = session.start_command(_cdb(rng, True, lba, blocks), lun, write=work.PATTERN[:size], **way)
        running.append((task, size))
        while len(running) >= DEPTH or sum(length for _, length in running) > AT_ONCE:
            session.wait(running.popleft()[0])
    while running:
        session.wait(running.popleft()[0])


def plain(session: Session, rng: random.Random, count: int) -> None:
    """READs and WRITEs that are answered by one PDU: what data threads serve."""
    running: deque[Task] = deque()
    for _ in range(count):
        lun, block = rng.choice(((work.SMALL, 512), (work.LARGE, 4096), (work.FAR, 512)))
        size = max(block, rng.choice((512, 4096, 8192)))
        write, lba, blocks = rng.random() < 0.5, rng.randrange(64), size // block
        data = work.PATTERN[:size] if write else b""
        read = 0 if write else size
        running.append(session.start_command(_cdb(rng, write, lba, blocks), lun, read=read, write=data))
        while len(running) >= PLAIN_DEPTH:
            session.wait(running.popleft())
    while running:
        session.wait(running.popleft())


class _Beside:
    """Sessions of plain commands, each in a thread of the generator; :meth:`end` returns how many they have sent."""

    def __init__(self, address: work.Address, rng: random.Random, first: int, count: int, sessions: int) -> None:
        self._sent = [0] * sessions
        self._errors: list[BaseException] = []
        each = count // sessions if sessions else 0
        self._threads = [
            threading.Thread(target=self._work, args=(index, address, random.Random(rng.random()), first + index, each))
            for index in range(sessions)
        ]
        for thread in self._threads:
            thread.start()

    def _work(self, index: int, address: work.Address, rng: random.Random, number: int, count: int) -> None:
        try:
            with work.connect(address, number) as session:
                for lun in work.LUNS:
                    session.read_capacity(lun)
                plain(session, rng, count)
                self._sent[index] = session.log.count(Opcode.SCSI_COMMAND)
                session.logout()
        except BaseException as error:
            self._errors.append(error)

    def end(self) -> int:
        for thread in self._threads:
            thread.join()
        assert not self._errors, self._errors
        return sum(self._sent)


def _one_round(address: work.Address, rng: random.Random, number: int, count: int, threads: int) -> int:
    """Three sessions one after the other, and plain ones beside them; returns how many commands they sent."""
    beside = _Beside(address, rng, number % 1000 * 10 + len(_KEYS), count // 3 if threads else 0, threads)
    count -= count // 3 if threads else 0
    sent = 0
    for index, (keys, share) in enumerate(zip(_KEYS, _SHARES, strict=True)):
        with work.connect(address, number % 1000 * 10 + index, **keys) as session:
            for lun in work.LUNS:  # and the unit attentions of what others did
                session.read_capacity(lun)
            for part in (work.nops_and_text, work.long_text, work.management):
                part(session)
            commands(session, rng, int(count * share))
            sent += session.log.count(Opcode.SCSI_COMMAND)
            session.nop()
            session.logout()
    return sent + beside.end()


@dataclass
class Shown:
    """What tshark shows in every PDU of a kind, by its name of the field."""

    kinds: dict[str, set[Opcode]] = field(default_factory=dict)

    @classmethod
    def learn(cls, capture: Capture) -> Shown:
        """From a capture that is dissected in full.

        Names under which the short output shows more than the header's own field are left out.
        """
        always: dict[Opcode, set[str]] = {}
        ever: dict[Opcode, set[str]] = {}
        counts: Counter[Opcode] = Counter()
        for pdu in capture.pdus():
            if pdu.sent == bool(pdu.opcode & 0x20):
                counts[Opcode(pdu.opcode)] += 1
                opcode, names = Opcode(pdu.opcode), {f.name for f in pdu.fields if f.name in FIELDS}
                always[opcode] = always.get(opcode, names) & names
                ever[opcode] = ever.get(opcode, set()) | names
        kinds: dict[str, set[Opcode]] = {}
        for name in FIELDS:
            if name not in _OTHERWISE and all((name in ever[o]) == (name in always[o]) for o in ever):
                kinds[name] = {o for o in ever if name in ever[o]}
        shown = cls({name: found for name, found in kinds.items() if found})
        totals: Counter[str] = Counter()
        for (_, name), values in shown.read(capture).items():
            totals[name] += len(values)
        return cls(
            {name: found for name, found in shown.kinds.items() if totals[name] == sum(counts[o] for o in found)}
        )

    def read(self, capture: Capture) -> dict[tuple[Stream, str], list[int]]:
        """The values of each field in the order of the PDUs, by connection and direction."""
        columns = ["iscsi.opcode", *self.kinds]
        command = ["tshark", "-r", str(capture.file), "-T", "fields", "-Y", "iscsi", "-E", "separator=;"]
        for column in ("ip.src", "tcp.srcport", "ip.dst", "tcp.dstport", *columns):
            command += ["-e", column]
        for port in capture.ports:
            command += ["-d", f"tcp.port=={port},iscsi"]
        found: dict[tuple[Stream, str], list[int]] = {}
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                source, source_port, target, target_port, *values = line.rstrip("\n").split(";")
                sent = int(source_port) in capture.ports
                stream = (f"{target}:{target_port}" if sent else f"{source}:{source_port}", sent)
                for column, value in zip(columns, values, strict=True):
                    if value:
                        found.setdefault((stream, column), []).extend(int(v, 0) for v in value.split(","))
        return found


def expected(shown: Shown, streams: dict[Stream, list[Event]]) -> Iterator[tuple[Stream, str, list[int | None]]]:
    """What the events say of each field, None where the probe has another value by its specification."""
    opcodes = {probe: opcode for opcode, probe in KINDS.items()}
    for stream, events in streams.items():
        yield stream, "iscsi.opcode", [opcodes[event.probe] for event in events]
        for name, kinds in shown.kinds.items():
            read = FIELDS[name]
            wanted = [event for event in events if opcodes[event.probe] in kinds]
            if wanted:
                yield (
                    stream,
                    name,
                    [None if name in NOT_IN_THE_PROBE.get(event.probe, ()) else read(event) for event in wanted],
                )


def compare(shown: Shown, capture: Capture, events: Iterable[Event]) -> int:
    """Raise AssertionError at the first field that differs; returns how many were equal."""
    wire, equal = shown.read(capture), 0
    told = list(expected(shown, event_streams(list(events))))
    assert {(stream, name) for stream, name, _ in told} == wire.keys()
    for stream, name, values in told:
        seen = wire[stream, name]
        assert len(seen) == len(values), (stream, name, len(seen), len(values))
        for at, (one, other) in enumerate(zip(seen, values, strict=True)):
            assert other is None or one == other, (stream, name, at, one, other)
            equal += other is not None
    return equal


def run(
    directory: Path, count: int, data_path: str, seed: int, threads: int = 0, say: bool = False
) -> tuple[Counter[Probe], list[int]]:
    """A short round to learn from, and then rounds of one target.

    Returns how often each probe fired in these, and how many events came out of each ring: none where there is one.
    """
    luns = ", ".join(f'{{ number = {number}, store = "{store}" }}' for number, store in work.LUNS.items())
    config = directory / "target.toml"
    more = f"threads = {threads or 1}"
    config.write_text(CONFIG.format(target=work.TARGET, luns=luns, data_path=data_path, more=more))
    rng, fired, begin = random.Random(seed), Counter[Probe](), time.monotonic()
    by_ring = [0] * (threads + 1 if threads else 0)
    with start_target(directory, "--config", str(config)) as target:
        shown = Shown.learn(_captured(target, directory, rng, 0, 30, 0, last=True)[0])
    if say:
        print(f"compared: {', '.join(shown.kinds)}", flush=True)
    with start_target(directory, "--config", str(config)) as target:
        sent = equal = number = 0
        while sent < count:
            number += 1
            last = sent + ROUND >= count
            capture, events, done, rings = _captured(
                target, directory, rng, number, min(ROUND, count), threads, last=last
            )
            by_ring = [one + other for one, other in zip(by_ring, rings, strict=True)]
            equal += compare(shown, capture, events)
            fired.update(event.probe for event in events)
            sent += done
            if say:
                print(f"{sent} commands, {equal} fields equal, {time.monotonic() - begin:.0f} s", flush=True)
    return fired, by_ring


def _captured(
    target: RunningTarget, directory: Path, rng: random.Random, number: int, count: int, threads: int, *, last: bool
) -> tuple[Capture, list[Event], int, list[int]]:
    """A round; the last one ends with the server's farewell."""
    address = target.addresses[0]
    with (
        Capture(directory / "round.pcapng", address[1]) as capture,
        attach(socket=watch_socket(target), ring_size=64 << 20) as trace,
    ):
        sent = _one_round(address, rng, number, count, threads)
        if last:
            with work.connect(address, 9999) as session:
                work.await_ping(session)
                target.process.send_signal(signal.SIGTERM)
                work.await_farewell(session)
        capture.stop()
        events: list[Event] = []
        while more := trace.poll(0.5):
            events += more
        assert trace.drops == 0
        assert isinstance(trace, RingTrace)
        rings = trace.events_by_ring if threads else []
    return capture, events, sent, rings


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--commands", type=int, default=1_000_000)
    parser.add_argument("--data-path", choices=("native", "python"), default="native")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="it-many-") as name:
        fired, by_ring = run(
            Path(name), arguments.commands, arguments.data_path, arguments.seed, arguments.threads, say=True
        )
    if by_ring:
        print(f"events of the loop's thread: {by_ring[0]}, of data threads: {', '.join(map(str, by_ring[1:]))}")
    print(", ".join(f"{probe.label} {count}" for probe, count in sorted(fired.items())))
    missing = [probe.label for probe in Probe if probe not in fired and probe < Probe.REJECT_SEND]
    print("all 18 probes fired" if not missing else f"not fired: {', '.join(missing)}")
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main())
