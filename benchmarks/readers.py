"""Who may be attached to a target while a load runs: our readers, bpftrace, or nobody."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadgen import pinned
from peers import Ours

from iscsitools.provider.backend import attach_path

COUNTING = 'BEGIN { printf("Hit Ctrl-C\\n"); } usdt:{file}:iscsi:scsi_command { @ = count(); }'


@dataclass(frozen=True)
class Reader:
    """Who is attached while the load runs, to which target, and which target nobody is attached to is compared with it.

    ``command``: ``{file}`` is a file of the run's own, of ours those words follow ``iscsitools``; none: nobody is
    attached. ``on`` and ``off``: names of ``TARGETS``.
    """

    command: tuple[str, ...]
    goal: str
    on: str = "provider"
    off: str = "provider"
    ours: bool = True
    script: bool = False
    """``command`` is a program of this directory and its arguments, and no command of ours."""


TARGETS: Mapping[str, tuple[str, ...]] = {
    "provider": ("--provider", "auto"),
    "bare": ("--provider", "none"),
    "second bare": ("--provider", "none"),
}
READERS: Mapping[str, Reader] = {
    "top": Reader(("top", "--batch", "1"), "1.15"),
    "sums": Reader(("keep_sums.py", "1"), "1.20", script=True),
    "ten": Reader(("keep_sums.py", "10"), "1.30", script=True),
    "record": Reader(("record", "--output", "{file}"), "1.40"),
    "nobody": Reader((), "noise", off="bare"),
    "nothing": Reader((), "-", on="second bare", off="bare"),
    "bpftrace": Reader(("bpftrace", "-p", "{pid}", "-e", COUNTING), "-", off="bare", ours=False),
}
EVENTS = re.compile(r"(\d+) events(?:, (\d+) drops)?")


@dataclass
class Watched:
    """A reader from its start-up line to its end."""

    cpu: float = 0.0
    """Seconds on a CPU between those."""
    events: int = 0
    """Records that it wrote; 0 for one that asks for sums."""
    drops: int = 0


def cpu_seconds(pid: int) -> float:
    """What all threads of a process have had of a CPU."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def command_of(reader: Reader, pid: int, file: Path) -> list[str]:
    """The words that start a reader of the target with process id ``pid``."""
    name = f"iscsi{pid}"  # others may run on this machine
    if reader.script:
        program, *arguments = reader.command
        return [sys.executable, str(Path(__file__).with_name(program)), *arguments, name]
    if reader.ours:
        words = [part.replace("{file}", str(file)) for part in reader.command]
        return [sys.executable, "-m", "iscsitools", *words, "--name", name]
    return [part.replace("{file}", str(attach_path())).replace("{pid}", str(pid)) for part in reader.command]


def end(process: subprocess.Popen[str]) -> str:
    """End a reader as Ctrl-C does; returns what it printed.

    bpftrace can miss the signal while it begins to wait; to be stopped and go on wakes it up.
    """
    process.send_signal(signal.SIGINT)
    while True:
        try:
            return process.communicate(timeout=2)[0]
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGSTOP)
            process.send_signal(signal.SIGCONT)


@contextmanager
def attached(name: str, target: Ours, directory: Path, cpu: int | None) -> Iterator[Watched]:
    """Run a reader; what it used is known when the block has been left."""
    watched = Watched()
    if not READERS[name].command:
        yield watched
        return
    file = directory / "events"
    process = subprocess.Popen(
        [*pinned(cpu), *command_of(READERS[name], target.target.pid, file)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"XDG_RUNTIME_DIR": str(target.target.runtime), "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        seen = ""
        while "Hit Ctrl-C" not in seen:
            if not (line := process.stdout.readline()):
                raise RuntimeError(f"{name} does not start: {seen}")
            seen += line
        before = cpu_seconds(process.pid)
        yield watched
        watched.cpu = cpu_seconds(process.pid) - before
        output = end(process)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()
        file.unlink(missing_ok=True)
    if found := EVENTS.search(output):
        watched.events, watched.drops = int(found[1]), int(found[2] or 0)
