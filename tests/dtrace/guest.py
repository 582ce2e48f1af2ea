"""What the steps in the lab's guest are made of: targets, loads of known numbers, tracers, and where results go."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from dtrace import scene
from iscsitools.initiator import Plan, Session, run_load

HERE: Final = Path(__file__).resolve().parent

BIN: Final = Path(sys.executable).parent
PATIENCE: Final = 300.0


class Guest:
    """One run. ``out``: the folder that the tests read."""

    def __init__(self, out: Path) -> None:
        self.out = out
        out.mkdir(parents=True, exist_ok=True)

    def step(self, name: str) -> None:
        """Note when a part began: what takes long, and where a run that hangs does so."""
        with open(self.out / "steps.txt", "a") as file:
            file.write(f"{time.monotonic():7.0f} s {name}\n")

    def note(self, name: str, found: Any) -> None:
        """Leave a result for the tests."""
        (self.out / f"{name}.json").write_text(json.dumps(found))

    def command(self, name: str, *words: str) -> None:
        """Run a program to its end: what it printed, and a last line with its status."""
        with open(self.out / f"{name}.txt", "wb") as file:
            done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, check=False)
            file.write(b"status %d\n" % done.returncode)

    def serve(self, name: str) -> tuple[subprocess.Popen[bytes], int]:
        """Start a target; returns it and its port on 127.0.0.1."""
        process, ports = scene.serve(self.out, name=name)
        return process, ports["127.0.0.1"]

    def load(self, port: int, reads: int, writes: int, name: str = "") -> None:
        """One session with so many reads and writes of 4 KiB and one NOP-Out; with a name it is noted what was done."""
        session = Session.connect(("127.0.0.1", port), scene.TARGET, timeout=PATIENCE)
        totals = run_load(session, Plan(reads, writes, depth=8))
        session.nop(b"1")
        session.logout()
        session.close()
        if name:
            self.note(name, vars(totals))

    def held(self, process: subprocess.Popen[bytes]) -> dict[str, int]:
        """How many mappings and descriptors a process has: more and more, if it gives something not back."""
        folder = Path("/proc", str(process.pid))
        return {
            "maps": len((folder / "maps").read_text().splitlines()),
            "descriptors": len(list((folder / "fd").iterdir())),
        }

    @contextmanager
    def traced(self, name: str, ports: Sequence[int], *words: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a tracer around something, end it as Ctrl-C does, and note its status."""
        process = scene.start(self.out, name, words)
        scene.ready(self.out, name, process)
        for port in ports:
            scene.wake({"127.0.0.1": port})
        try:
            yield process
        finally:
            if process.poll() is None:
                scene.stop(self.out, {name: process})
