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
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support.target import RunningTarget, start_target

from iscsitools.initiator import Opcode
from iscsitools.probes.table import Probe
from iscsitools.trace import Event, attach
from iscsitools.trace.client.live import RingTrace
from truth import work
from truth.capture import Capture
from truth.commands import watch_socket
from truth.fields import FIELDS, NOT_IN_THE_PROBE
from truth.kinds import CONFIG, KINDS, Stream, event_streams
from truth.mixed_rounds import one_round

ROUND = 20_000
_OTHERWISE = ("scsi.lun", "iscsi.isid")
"""Fields that the short output writes in another way; test_tshark compares them."""


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
        sent = one_round(address, rng, number, count, threads)
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
