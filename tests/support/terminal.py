"""A program in a real terminal: tmux types the keys and says what is on the screen."""

from __future__ import annotations

import os
import re
import subprocess
import time

PATIENCE = 30
"""Seconds until the screen has to show what a test waits for."""


class Terminal:
    """A tmux server of its own with one window."""

    def __init__(self, directory: str, width: int, height: int, *command: str) -> None:
        """Run ``command``; ``directory`` has a short path, since that of a Unix socket has at most 107 bytes."""
        self._socket = os.path.join(directory, "tmux")
        self._tmux(
            "-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height), "-s", "shown",
            "env", "LANG=C.UTF-8", "TERM=screen-256color", f"XDG_CONFIG_HOME={directory}", *command,
        )  # fmt: skip
        self._tmux("set-option", "-g", "remain-on-exit", "on")

    def _tmux(self, *arguments: str) -> str:
        command = ["tmux", "-u", "-S", self._socket, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def keys(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        self._tmux("send-keys", "-l", "--", text)

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    def screen(self) -> str:
        return self._tmux("capture-pane", "-p")

    def until(self, pattern: str, *, absent: bool = False) -> str:
        """The screen, once it matches (or, with ``absent``, no longer does)."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            screen = self.screen()
            if bool(re.search(pattern, screen, re.MULTILINE)) is not absent:
                return screen
            time.sleep(0.05)
        raise AssertionError(f"{pattern!r} {'stayed on' if absent else 'did not come to'} the screen:\n{self.screen()}")

    def ended(self) -> bool:
        return self._tmux("display-message", "-p", "#{pane_dead}").strip() == "1"

    def wait_for_end(self) -> None:
        """Until the program has ended: asked of tmux, whose own words on the dead screen may be wiped out."""
        end = time.monotonic() + PATIENCE
        while not self.ended():
            assert time.monotonic() < end, f"it did not end:\n{self.screen()}"
            time.sleep(0.05)

    def close(self) -> None:
        subprocess.run(["tmux", "-S", self._socket, "kill-server"], capture_output=True, check=False)
