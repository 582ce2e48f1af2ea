"""A command that runs while a server serves, and ends it: ``serve --run``."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Mapping
from typing import Final

from iscsitools.errors import RunError

_PATIENCE: Final = 10.0
"""Seconds that a command has to end at SIGTERM, once the server has ended."""


class RunBeside:
    """A command of the shell's. ``ended`` is called, in a thread, when it has ended."""

    def __init__(self, command: str, ended: Callable[[], None], variables: Mapping[str, str]) -> None:
        """Start it. Raises RunError when there is no shell to start it with."""
        try:
            self._process = subprocess.Popen(["/bin/sh", "-c", command], env=os.environ | dict(variables))
        except OSError as error:
            raise RunError(f"--run: /bin/sh: {error.strerror}") from None
        self._ended = ended
        threading.Thread(target=self._wait, name="run", daemon=True).start()

    def _wait(self) -> None:
        self._process.wait()
        self._ended()

    def finish(self) -> int:
        """The server has ended: end the command too, and return its exit status, as a shell has it."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        status = self._process.returncode
        return status if status >= 0 else 128 - status
