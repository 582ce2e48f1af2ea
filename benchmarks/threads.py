"""What data threads cost and bring over sockets: the same loads on a server with one thread and on one with several.

usage: threads.py [--threads N] [--rounds N] [--seconds S] [--cases NAME;...] [--json FILE] [--markdown]

Both serve a file of their own, all of it in the page cache, with ``O_DIRECT``, or (``cold``) with nothing of it there
when a run begins; nothing is pinned, and the generator runs on the same processors. In each round one load after the
other meets first one server, then the other. ``us``: processor time of the server for an I/O, the kernel's work in its
system calls included. ``busy``: what each of the threads that took part did of it, in hundredths. ``ratio``: several
threads over one, of ``us`` or (QD1) of the median latency; the median of the rounds, with the lowest and the highest.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from cases import Case, Setting, size_text
from disk import check_pattern, chill, prepare, settle
from loadgen import Endpoint, Sample, cache_directory, run
from peer import Place
from peers import Ours

SIZE = 256 << 20
WARM_UP = 0.3
CASES = (
    Case("4K read, 4 connections of QD8", "many", "randread", depth=8, connections=4),
    Case("4K write, 4 connections of QD8", "many", "randwrite", depth=8, connections=4),
    Case("4K write with R2T, 4 connections of QD8", "many", "randwrite", depth=8, connections=4, options=("-R", "-I")),
    Case("64K read, 4 connections of QD4", "many", "randread", block=65536, depth=4, connections=4),
    Case("256K write, 4 connections of QD4", "many", "randwrite", 262144, 4, 4, first_burst=65536),
    Case("4K read, one connection of QD32", "one", "randread"),
    Case("4K write, one connection of QD32", "one", "randwrite"),
    Case("4K read, one connection of QD1", "one", "randread", depth=1, metric="p50_us"),
    Case("4K read O_DIRECT, 4 connections of QD8", "many", "randread", 4096, 8, 4, setting=Setting.DIRECT),
    Case("4K write O_DIRECT, 4 connections of QD8", "many", "randwrite", 4096, 8, 4, setting=Setting.DIRECT),
    Case("4K read O_DIRECT, one connection of QD32", "one", "randread", setting=Setting.DIRECT),
    Case("4K read O_DIRECT, one connection of QD1", "one", "randread", 4096, 1, metric="p50_us",
         setting=Setting.DIRECT),
    Case("4K read cold, 4 connections of QD8", "many", "randread", 4096, 8, 4, setting=Setting.COLD),
    *(
        Case(f"{size_text(block)} {mode[4:]} {word}, {connections} of QD{depth}", "long", mode, block, depth, count,
             first_burst=65536, setting=setting)
        for mode, block, setting, word in (
            ("randread", 131072, Setting.DIRECT, "O_DIRECT"), ("randread", 262144, Setting.DIRECT, "O_DIRECT"),
            ("randwrite", 65536, Setting.DIRECT, "O_DIRECT"), ("randwrite", 262144, Setting.DIRECT, "O_DIRECT"),
            ("randread", 262144, Setting.COLD, "cold"),
        )
        for connections, count, depth in (("one connection", 1, 1), ("one connection", 1, 8), ("4 connections", 4, 8))
    ),
)  # fmt: skip


@dataclass
class Found:
    """What was measured of one load: by one thread, by several, and how busy each of those was."""

    one: list[Sample] = field(default_factory=list)
    several: list[Sample] = field(default_factory=list)
    busy: list[list[float]] = field(default_factory=list)


def spent(pid: int) -> dict[str, int]:
    """Nanoseconds of processor time by thread."""
    tasks = Path(f"/proc/{pid}/task")
    return {task.name: int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()}


def shares(before: dict[str, int], after: dict[str, int]) -> list[float]:
    """What each thread did of all, in hundredths, those that did hardly anything left out; the busiest first."""
    did = [after[name] - before.get(name, 0) for name in after]
    return sorted((100 * each / sum(did) for each in did if each * 50 > sum(did)), reverse=True)


@contextmanager
def servers(threads: int, setting: Setting) -> Iterator[tuple[Endpoint, Endpoint]]:
    """One with one thread, and one with several, each with a file of its own."""
    with ExitStack() as stack:
        found: list[Endpoint] = []
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for count in (1, threads):
            disk = cache_directory() / f"threads-{count > 1:d}"
            prepare(disk, SIZE)
            own = folder / str(count)
            own.mkdir()
            ours = Ours("--threads", str(count))
            found += ours.start(Place(disk, own, None, setting))
            stack.callback(ours.stop)
            check_pattern(found[-1], f"threads {count}", None)
        yield found[0], found[1]


def measure(case: Case, ends: Sequence[Endpoint], seconds: float, found: Found) -> None:
    """One round of a load."""
    for number in (0, 1):
        (settle if case.setting is Setting.CACHED else chill)(cache_directory() / f"threads-{number}")
        before = spent(ends[number].pid)
        sample = run(case, ends[number], seconds, WARM_UP, None)
        if number:
            found.several.append(sample)
            found.busy.append(shares(before, spent(ends[number].pid)))
        else:
            found.one.append(sample)


def row(case: Case, found: Found) -> dict[str, Any]:
    """The medians of a load."""
    values = [[getattr(sample, case.metric) for sample in samples] for samples in (found.one, found.several)]
    ratios = sorted(more / one for one, more in zip(*values, strict=True))
    longest = max(map(len, found.busy))
    return {
        "load": case.name,
        "of": "us" if case.metric == "cpu_us_per_io" else "p50",
        "one": statistics.median(values[0]),
        "several": statistics.median(values[1]),
        "ratio": statistics.median(ratios),
        "lowest": ratios[0],
        "highest": ratios[-1],
        "iops": statistics.median(m.iops / o.iops for o, m in zip(found.one, found.several, strict=True)),
        "busy": [round(statistics.median(b[n] if n < len(b) else 0 for b in found.busy)) for n in range(longest)],
    }


def render(rows: Sequence[dict[str, Any]], threads: int, markdown: bool) -> str:
    """The table."""
    table = [["load", "of", "1", str(threads), "ratio", "busy", "IOPS"]]
    for each in rows:
        ratio = f"{each['ratio']:.2f} ({each['lowest']:.2f}-{each['highest']:.2f})"
        busy = " ".join(str(share) for share in each["busy"])
        table.append(
            [
                each["load"], each["of"], f"{each['one']:.2f}", f"{each['several']:.2f}", ratio, busy,
                f"{each['iops']:.2f}",
            ]
        )  # fmt: skip
    if markdown:
        table.insert(1, ["---"] * len(table[0]))
        return "\n".join(f"| {' | '.join(line)} |" for line in table)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each run")
    parser.add_argument("--cases", default="", help="names or parts of names, separated by semicolons")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", action="store_true")
    wanted = parser.parse_args()
    cases = [case for case in CASES if any(part in case.name for part in wanted.cases.split(";"))]
    found = {case: Found() for case in cases}
    for setting in sorted({case.setting for case in cases}, key=lambda each: each.value):
        with servers(wanted.threads, setting) as ends:
            for number in range(wanted.rounds):
                print(f"{setting.value}, round {number + 1} of {wanted.rounds}", file=sys.stderr, flush=True)
                for case in (case for case in cases if case.setting is setting):
                    measure(case, ends, wanted.seconds, found[case])
    rows = [row(case, found[case]) for case in cases]
    print(render(rows, wanted.threads, wanted.markdown))
    if wanted.json:
        wanted.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
