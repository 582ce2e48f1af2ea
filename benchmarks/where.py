"""Say where the CPU time of our target goes under a load, by the parts of its code; see README.md beside this file."""

from __future__ import annotations

import argparse
import json
import linecache
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from cases import CASES, Case
from compare import processors
from disk import prepare
from loadgen import Endpoint, MissingError, cache_directory, pinned, run
from peer import IQN, Place
from peers import configuration
from support.target import start_target
from tabulate import tabulate

HERE = Path(__file__).resolve().parent
SIZE = 256 << 20
SYSTEM = "calls of the system"
CALLS = re.compile(
    r"\b(poll|register|unregister|modify|send|sendmsg|recv_into|recvmsg_into|shutdown|close|_accept|setblocking|fstat"
    r"|pread|pwrite|preadv|pwritev|urandom)\("
)
"""What a line does that waits in the kernel for most of its time; ``.close(`` of other things is rare."""
PARTS = (
    ("server/log_queue.py", "log lines"),
    ("server/session_notices.py", "log lines"),
    ("logging/", "log lines"),
    ("server/loop.py", "the event loop"),
    ("server/poller.py", "the event loop"),
    ("server/", "around the engine (server/)"),
    ("iscsi/login/", "login"),
    ("iscsi/text_pairs.py", "login"),
    ("iscsi/session/", "sessions"),
    ("iscsi/connection/", "connection, framing, output"),
    ("iscsi/requests/", "requests"),
    ("wire/", "PDUs' fields"),
    ("scsi/", "SCSI: nexus, unit attentions, gates"),
    ("backstores/", "SCSI: nexus, unit attentions, gates"),
    ("probes/", "probes, feeds, observers"),
    ("trace/", "probes, feeds, observers"),
    ("", "the rest"),
)


Note = tuple[str, str, int, str, int]
"""File, function and line; the file of ours that called it, or the same; and how often it was met."""


def part_of(file: str, line: int, owner: str) -> str:
    """The part that a noted line belongs to: what the standard library does is its caller's."""
    if CALLS.search(linecache.getline(file, line)):
        return SYSTEM
    place = (owner or file).rpartition("iscsitools/")[2]
    return next(name for begin, name in PARTS if place.startswith(begin))


def noted(case: Case, arguments: argparse.Namespace, directory: Path) -> tuple[float, list[Note]]:
    """Run the load; returns the CPU time for an I/O in microseconds, and the notes."""
    target_cpu, cpu = processors()
    disk = cache_directory() / "where.disk"
    prepare(disk, SIZE)
    file, notes = directory / "where.toml", directory / "notes.json"
    file.touch(mode=0o600)
    file.write_text(configuration(Place(disk, directory, target_cpu, case.setting)))
    prefix = [*pinned(target_cpu), sys.executable, str(HERE / "sampled.py"), str(notes)]
    with start_target(directory, "--config", str(file), "--threads", "1", prefix=prefix) as target:
        host, port = target.addresses[0]
        sample = run(case, Endpoint(host, port, IQN, 0, target.pid), arguments.seconds, 0.5, cpu)
    return sample.cpu_us_per_io, [(*each,) for each in json.loads(notes.read_text())]


def table(cost: float, shares: Counter[str]) -> Iterable[Sequence[object]]:
    """Rows of parts, the largest first."""
    total = sum(shares.values())
    for name, count in shares.most_common():
        yield name, f"{100 * count / total:.1f} %", f"{cost * count / total:.1f}"


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", default="login", help="the load (default: login)")
    parser.add_argument("--list", action="store_true", help="print the names of all loads")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long (default 20)")
    parser.add_argument("--lines", type=int, default=0, help="also this many lines, those met most often")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    arguments = parser.parse_args()
    names = {case.name: case for case in CASES}
    if arguments.list:
        print("\n".join(names))
        return 0
    if arguments.case not in names:
        print(f"no load is called {arguments.case!r}; --list shows them", file=sys.stderr)
        return 2
    try:
        with tempfile.TemporaryDirectory() as directory:
            cost, notes = noted(names[arguments.case], arguments, Path(directory))
    except (MissingError, RuntimeError) as error:
        print(f"where.py: {error}", file=sys.stderr)
        return 1
    report(arguments, cost, notes)
    return 0


def report(arguments: argparse.Namespace, cost: float, notes: Sequence[Note]) -> None:
    """Print what was noted."""
    shares: Counter[str] = Counter()
    for file, _, line, owner, count in notes:
        shares[part_of(file, line, owner)] += count
    print(f"{arguments.case}: {cost:.0f} us of CPU for each, {sum(shares.values())} notes\n")
    how = "github" if arguments.markdown else "simple"
    print(tabulate(table(cost, shares), ("part", "share", "us"), how, disable_numparse=True))
    for file, name, line, _, count in sorted(notes, key=lambda each: -each[4])[: arguments.lines]:
        print(f"{100 * count / sum(shares.values()):5.1f} %  {Path(file).name}:{line} {name}")


if __name__ == "__main__":
    sys.exit(main())
