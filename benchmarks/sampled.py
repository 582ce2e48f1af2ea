"""``serve``, with a note every few milliseconds of CPU time of which line its event loop is at. Started by where.py.

    python benchmarks/sampled.py FILE -m iscsitools serve ...

What the kernel's clock says is at each of its ticks (1 to 10 ms), so only many notes say something. A signal is
looked at between two steps of the interpreter: one that comes in a call of C counts for the line that makes the call.
"""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from types import FrameType
from typing import Any

from iscsitools.cli.main import main
from iscsitools.server.loop import Loop

EVERY: float = 0.001
"""Seconds of CPU time; the system's tick, if that is longer."""


class Notes:
    """How often each line was met, with the first of its callers that is a file of the package."""

    def __init__(self) -> None:
        self.met: Counter[tuple[str, str, int, str]] = Counter()

    def take(self, _number: int, frame: FrameType | None) -> None:
        """Note where the interpreter is."""
        if frame is None:
            return
        code = frame.f_code
        own: FrameType | None = frame
        while own is not None and "iscsitools" not in own.f_code.co_filename:
            own = own.f_back
        owner = own.f_code.co_filename if own is not None else ""
        self.met[code.co_filename, code.co_name, frame.f_lineno or 0, owner] += 1

    def write(self, path: str) -> None:
        """All of them, as JSON."""
        with open(path, "w", encoding="utf-8") as file:
            json.dump([[*place, count] for place, count in self.met.items()], file)


def sample(path: str) -> None:
    """Have the event loop noted from its first step to its last."""
    notes, run = Notes(), Loop.run

    def noted(self: Loop) -> Any:
        signal.signal(signal.SIGPROF, notes.take)
        signal.setitimer(signal.ITIMER_PROF, EVERY, EVERY)
        try:
            return run(self)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            notes.write(path)

    Loop.run = noted  # type: ignore[method-assign]


if __name__ == "__main__":
    sample(sys.argv[1])
    # What follows are the words of the command that this one stands for: an interpreter, -m, iscsitools.
    sys.argv = ["iscsitools", *sys.argv[sys.argv.index("iscsitools") + 1 :]]
    sys.exit(main())
