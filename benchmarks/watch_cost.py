"""Measure what watching costs the target: CPU for a 4 KiB I/O with and without a reader; see docs/tracing-cost.md."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from cases import Case, wanted_cases
from compare import processors, say
from disk import prepare, settle
from loadgen import Endpoint, MissingError, Sample, build, cache_directory, run
from peer import Place
from peers import Ours
from readers import READERS, TARGETS, Watched, attached
from report import ratio_text
from results import machine
from tabulate import tabulate


@dataclass
class Pair:
    """Two runs, one after the other: nobody attached, and a reader."""

    off: Sample
    on: Sample
    watched: Watched
    ios: float

    @property
    def ratio(self) -> float:
        return self.on.cpu_us_per_io / self.off.cpu_us_per_io


@dataclass
class Measured:
    """All pairs by load and reader."""

    pairs: dict[tuple[Case, str], list[Pair]] = field(default_factory=dict)

    def add(self, case: Case, reader: str, pair: Pair) -> None:
        self.pairs.setdefault((case, reader), []).append(pair)


class Bench:
    """The runs themselves."""

    def __init__(self, arguments: argparse.Namespace, directory: Path, disks: list[Path]):
        """``disks``: a file for each of the ``TARGETS``."""
        self.arguments = arguments
        self.directory = directory
        self.disks = disks
        self.running: dict[str, tuple[Ours, Endpoint, Path]] = {}
        self.target_cpu, self.cpu = processors()

    @contextmanager
    def targets(self, number: int) -> Iterator[None]:
        """New processes for each round, each time with another file: where memory happens to lie is not to add up."""
        with ExitStack() as stack:
            for place, (name, words) in enumerate(TARGETS.items()):
                own = self.directory / f"{number}-{place}"
                own.mkdir()
                disk = self.disks[(place + number) % len(self.disks)]
                target = Ours(*words, "--data-path", self.arguments.data_path)
                (endpoint,) = target.start(Place(disk, own, self.target_cpu))
                stack.callback(target.stop)
                self.running[name] = (target, endpoint, disk)
            yield

    def load(self, case: Case, name: str) -> Sample:
        _, endpoint, disk = self.running[name]
        settle(disk)
        return run(case, endpoint, self.arguments.seconds, self.arguments.warm_up, self.cpu)

    def pair(self, case: Case, name: str, reader_first: bool) -> Pair:
        """One run of each kind; which one comes first changes from round to round."""
        reader = READERS[name]
        off = None if reader_first else self.load(case, reader.off)
        with attached(name, self.running[reader.on][0], self.directory, self.cpu) as watched:
            on = self.load(case, reader.on)
        off = off or self.load(case, reader.off)
        return Pair(off, on, watched, on.iops * (self.arguments.seconds + self.arguments.warm_up))

    def all(self, cases: list[Case], readers: list[str]) -> Measured:
        measured = Measured()
        for number in range(self.arguments.rounds):
            with self.targets(number):
                for case in cases:
                    for reader in readers:
                        pair = self.pair(case, reader, bool(number % 2))
                        measured.add(case, reader, pair)
                        say(f"{case.name} {number + 1}/{self.arguments.rounds} {reader}: {pair.ratio:.3f}")
        return measured


def reader_text(pairs: list[Pair]) -> str:
    """The reader's own CPU: for an event, or for an I/O when the server counts for it."""
    if pairs[0].watched.events:
        return f"{median(p.watched.cpu / p.watched.events for p in pairs) * 1e6:.3f} us/event"
    return f"{median(p.watched.cpu / p.ios for p in pairs) * 1e6:.3f} us/IO"


def lowest_ratio(pairs: list[Pair]) -> float:
    """The lowest CPU with the reader over the lowest one without: what a busy machine disturbs least."""
    return min(p.on.cpu_us_per_io for p in pairs) / min(p.off.cpu_us_per_io for p in pairs)


def table(measured: Measured, style: str) -> str:
    rows = []
    for (case, reader), pairs in measured.pairs.items():
        rows.append([
            case.name, reader, len(pairs),
            f"{median(p.off.cpu_us_per_io for p in pairs):.2f}",
            f"{median(p.on.cpu_us_per_io for p in pairs):.2f}",
            ratio_text([p.ratio for p in pairs]), f"{lowest_ratio(pairs):.2f}", READERS[reader].goal,
            reader_text(pairs), sum(p.watched.drops for p in pairs),
        ])  # fmt: skip
    headers = (
        "load",
        "attached",
        "pairs",
        "off us/IO",
        "on us/IO",
        "ratio",
        "of lowest",
        "goal",
        "reader's CPU",
        "drops",
    )
    return tabulate(rows, headers, tablefmt=style, disable_numparse=True)


def write_json(measured: Measured, path: Path) -> None:
    """Every pair, so that others can compute what they like."""
    pairs = [
        {
            "case": case.name,
            "attached": reader,
            "pairs": [{"off": p.off.values(), "on": p.on.values(), "reader": vars(p.watched)} for p in found],
        }
        for (case, reader), found in measured.pairs.items()
    ]
    path.write_text(json.dumps({"machine": machine(), "measured": pairs}, indent=1) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="pairs of each load and reader (default 10)")
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds measured in each run (default 3)")
    parser.add_argument("--warm-up", type=float, default=0.5, help="seconds before that (default 0.5)")
    parser.add_argument("--data-path", choices=("native", "python"), default="native", help="default native")
    parser.add_argument("--cases", default="4K read QD32;4K write QD32", help="loads (default %(default)s)")
    parser.add_argument("--readers", default=",".join(READERS), help="default %(default)s")
    parser.add_argument("--size", type=int, default=256, help="size of the served file in MiB (default 256)")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--json", type=Path, help="write every sample to this file")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    readers = arguments.readers.split(",")
    if unknown := set(readers) - set(READERS):
        say(f"no such reader: {', '.join(sorted(unknown))}; there are {', '.join(READERS)}")
        return 2
    try:
        build("iscsi-load")
    except MissingError as error:
        say(str(error))
        return 1
    with tempfile.TemporaryDirectory(prefix="it-watch-") as name:
        directory = Path(name)
        disks = [cache_directory() / f"watched-{number}-{arguments.size}M.img" for number in range(len(TARGETS))]
        for disk in disks:
            prepare(disk, arguments.size << 20)
        measured = Bench(arguments, directory, disks).all(wanted_cases(arguments.cases), readers)
    print(table(measured, "github" if arguments.markdown else "simple"))
    print(f"\nMedian (lowest-highest) of the pairs. {machine()}")
    if arguments.json:
        write_json(measured, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
