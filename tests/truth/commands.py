"""The watching commands as processes of their own, beside a target, and what they print."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support import alone
from support.target import RunningTarget

_ENDS = 60


def environment(target: RunningTarget) -> dict[str, str]:
    """In which the commands find this target, and no other."""
    return os.environ | {"XDG_RUNTIME_DIR": str(target.runtime), "PYTHONUNBUFFERED": "1"}


def watch_socket(target: RunningTarget) -> Path:
    """The path of its watch socket."""
    (found,) = target.runtime.rglob("*.watch")
    return found


class Watching:
    """A command that watches a target from the moment when this object is there until :meth:`end`."""

    def __init__(self, target: RunningTarget, *arguments: str) -> None:
        self.arguments = arguments
        self._process = subprocess.Popen(
            [*alone.COMMAND, *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(target),
        )  # fmt: skip
        # People get the start-up line first; beside JSON it is on standard error.
        announced = self._process.stderr if self._quiet else self._process.stdout
        assert announced is not None
        line = announced.readline()
        assert "Hit Ctrl-C to end." in line, line + "".join(self._process.communicate())

    @property
    def _quiet(self) -> bool:
        return "--json" in self.arguments or "record" in self.arguments

    def end(self) -> str:
        """Ctrl-C; returns what it printed."""
        self._process.send_signal(signal.SIGINT)
        return self.left()

    def left(self) -> str:
        """What it printed, when it ends by itself."""
        out, err = self._process.communicate(timeout=_ENDS)
        assert self._process.returncode == 0, (self.arguments, err)
        assert "drops" not in err
        return out


class AllWatching:
    """Several commands at once, by their arguments."""

    def __init__(self, target: RunningTarget, commands: Sequence[tuple[str, ...]]) -> None:
        self._running = [Watching(target, *arguments) for arguments in commands]

    def end(self) -> dict[tuple[str, ...], str]:
        """End all; returns what each printed."""
        return {watching.arguments: watching.end() for watching in self._running}


def replay(file: Path, *arguments: str) -> str:
    """What a command prints of a recorded file."""
    command = [*alone.COMMAND, *arguments, "--read", str(file)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=_ENDS, check=False)
    assert (result.returncode, result.stderr.replace("Tracing... Hit Ctrl-C to end.\n", "")) == (0, ""), arguments
    return result.stdout


def records(printed: str) -> list[dict[str, Any]]:
    """The records of all reports in JSON, snoop's lines included."""
    objects = [json.loads(line) for line in printed.splitlines()]
    return [record for found in objects for record in found.get("records", [found])]
