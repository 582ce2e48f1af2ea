"""A file that keeps something of a disk while no server runs, or over the death of one: reservations, mode pages."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

from iscsitools.backstores.syscalls import replace_file, sync_directory
from iscsitools.scsi.core.executor import Executor


class KeptFile:
    """One disk's file of one kind; a :class:`~iscsitools.scsi.core.place.Place`.

    Whatever moment a kill or a power cut chooses, the old text or the new one is found, never a mixture.
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
        """Keep this text instead, durable when this returns. Raises OSError, and what was there stays."""
        with self._lock:
            if number <= self._kept:
                return
            before = self.load()
            try:
                self._write(text)
            except OSError:
                with suppress(OSError):  # it may be in its place, and not known to be durable
                    if self.load() != before:
                        self._write(before)
                raise
            self._kept = number

    def _write(self, text: str) -> None:
        if text:
            replace_file(str(self.path), text.encode())
        else:
            self.path.unlink(missing_ok=True)
            if self.path.parent.is_dir():
                sync_directory(str(self.path))
