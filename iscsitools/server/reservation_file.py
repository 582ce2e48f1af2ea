"""The file that keeps a disk's persistent reservations while no server runs, or over the death of one."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from iscsitools.scsi.core.executor import Executor


class ReservationFile:
    """One disk's file; a :class:`~iscsitools.scsi.core.registrations.ReservationPlace`.

    It is written beside its place, made durable, and moved there: whatever moment a kill or a power cut chooses, the
    old text or the new one is found, never a mixture.
    """

    def __init__(self, path: Path, executor: Executor) -> None:
        self.path = path
        self.executor = executor
        self._lock = threading.Lock()
        self._kept = 0

    def load(self) -> str:
        """What is kept; empty: nothing. Raises OSError and UnicodeDecodeError."""
        try:
            return self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def keep(self, number: int, text: str) -> None:
        """Keep this text instead, durable when this returns. Raises OSError."""
        with self._lock:
            if number <= self._kept:
                return
            if text:
                self._write(text)
            else:
                self.path.unlink(missing_ok=True)
            if self.path.parent.is_dir():
                _make_durable(self.path.parent)
            self._kept = number

    def _write(self, text: str) -> None:
        folder = self.path.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)


def _make_durable(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
