"""What grows how: measures the parts of the model in docs/scaling.md, and computes it from them.

usage: scaling.py measure PARTS [--lanes FILE] [--rounds N] [--seconds S]
       scaling.py model PARTS

``measure`` writes the medians of its rounds to PARTS (JSON), with those of ``--lanes``, the JSON of ``lanes.py``.
``model`` prints the tables of the page.

The model. A command takes ``c`` of processor time where it is served by a data thread; of ``n`` threads each has

    1 / (1 + s (n - 1))

of what it has alone, where ``s`` follows from two threads: what they lose to each other grows by the same for each that
comes (the law of Amdahl and Gunther without its quadratic term). Each thread has a processor of its own. What is the
event loop's alone (logins, looking at sessions) has one processor at most.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from cases import Case
from disk import prepare, settle
from loadgen import Endpoint, cache_directory, run
from peer import IQN, Place
from peers import Ours

from iscsitools.initiator import Session

SIZE = 256 << 20
LOADS = {
    "read QD32": Case("4K read QD32", "", "randread"),
    "read 10x QD4": Case("4K read 10x QD4", "", "randread", depth=4, connections=10),
    "read 1000x QD1": Case("4K read 1000x QD1", "", "randread", depth=1, connections=1000),
    "write 10x QD4": Case("4K write 10x QD4", "", "randwrite", depth=4, connections=10),
    "login": Case("login", "", "login"),
}
SESSIONS = 500
IDLE_SECONDS = 5.0
PROCESSORS = (1, 2, 4, 8, 16, 32, 64)
MOST_SESSIONS = 10_000
LANES = {"read": "read, file", "write": "write, one file", "write apart": "write, a file each"}


def spent(pid: int) -> float:
    """Seconds of processor time of a process."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def resident(pid: int) -> int:
    """Bytes of a process in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure_sessions(end: Endpoint) -> dict[str, float]:
    """What a session takes that does nothing: microseconds in a second, and bytes."""
    address = (end.host, end.port)
    quiet = spent(end.pid)
    time.sleep(IDLE_SECONDS)
    quiet = spent(end.pid) - quiet
    before = resident(end.pid)
    sessions = [
        Session.connect(address, IQN, initiator=f"iqn.2026-11.example:{number}", isid=0x400001370000 + number)
        for number in range(SESSIONS)
    ]
    memory = (resident(end.pid) - before) / SESSIONS
    busy = spent(end.pid)
    time.sleep(IDLE_SECONDS)
    busy = spent(end.pid) - busy
    for session in sessions:
        session.close()
    return {"idle us/s": max(0.0, busy - quiet) * 1e6 / IDLE_SECONDS / SESSIONS, "session bytes": memory}


def measure(wanted: argparse.Namespace) -> dict[str, float]:
    """The medians of all parts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    disk = cache_directory() / "scaling"
    prepare(disk, SIZE)
    found: dict[str, list[float]] = {name: [] for name in LOADS}
    with tempfile.TemporaryDirectory() as made:
        ours = Ours("--threads", "2")
        (end,) = ours.start(Place(disk, Path(made), None))
        try:
            parts = measure_sessions(end)  # before memory has grown for anything else
            for number in range(wanted.rounds):
                print(f"round {number + 1} of {wanted.rounds}", file=sys.stderr, flush=True)
                for name, case in LOADS.items():
                    settle(disk)
                    found[name].append(run(case, end, max(wanted.seconds, case.least_seconds), 0.3, None).cpu_us_per_io)
        finally:
            ours.stop()
    parts |= {name: statistics.median(values) for name, values in found.items()}
    if wanted.lanes:
        lanes = {line["form"]: line["ratio"][0] for line in json.loads(wanted.lanes.read_text())}
        parts |= {f"two threads, {name}": lanes[form] for name, form in LANES.items()}
    return parts


def rate(us: float, two: float, threads: int) -> float:
    """Commands in a second by so many threads: one takes ``us`` for a command, two do ``two`` times as much as one."""
    serial = max(0.0, 2 / two - 1)
    return 1e6 / us * threads / (1 + serial * (threads - 1))


def amount(value: float) -> str:
    """Three digits of it."""
    for unit, name in ((1e6, " million"), (1e3, ",000")):
        if value >= unit:
            return f"{value / unit:.{1 if value < 100 * unit and unit > 1e3 else 0}f}{name}"
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def model(parts: dict[str, Any]) -> str:
    """The tables of the page."""
    reads, writes, apart = (parts[f"two threads, {name}"] for name in LANES)
    rows = [["processors", "4K reads, QD32", "4K reads, QD1 each", "4K writes, one file", "4K writes, a file each"]]
    for threads in PROCESSORS:
        rates = (
            rate(parts["read QD32"], reads, threads),
            rate(parts["read 1000x QD1"], reads, threads),
            rate(parts["write 10x QD4"], writes, threads),
            rate(parts["write 10x QD4"], apart, threads),
        )
        rows.append([str(threads), *map(amount, rates)])
    idle = parts["idle us/s"] * MOST_SESSIONS / 1e6
    sessions = [
        ["10,000 sessions", ""],
        ["memory beside `buffer_memory`", f"{parts['session bytes'] * MOST_SESSIONS / (1 << 20):.0f} MiB"],
        ["the loop's processor while all are idle", f"{100 * idle:.1f} %"],
        ["all log in again, one after the other", f"{parts['login'] * MOST_SESSIONS / 1e6:.1f} s of the loop's"],
    ]
    for threads in (1, 8, 64):
        each = rate(parts["read 1000x QD1"], reads, threads) / MOST_SESSIONS
        sessions.append([f"4K reads a second for each at QD1, {threads} processors", amount(each)])
    return f"{table(rows)}\n\n{table(sessions)}"


def main() -> None:
    """Measure, or compute."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "model"))
    parser.add_argument("parts", type=Path)
    parser.add_argument("--lanes", type=Path, help="the JSON of lanes.py")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each run")
    wanted = parser.parse_args()
    if wanted.what == "measure":
        wanted.parts.write_text(json.dumps(measure(wanted), indent=1) + "\n")
    else:
        print(model(json.loads(wanted.parts.read_text())))


if __name__ == "__main__":
    main()
