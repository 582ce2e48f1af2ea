"""The file that holds an atomic write until it is in place; see :mod:`iscsitools.backstores.atomic_journal`."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from iscsitools.backstores.atomic_journal import LONGEST, SIZE, AtomicJournal
from iscsitools.backstores.base import Backstore, BackstoreError
from iscsitools.backstores.file import FileBackstore
from iscsitools.backstores.syscalls import is_in_memory, make_folders

_T = TypeVar("_T")


class AtomicFile:
    """One disk's file, in the folder of what outlives the server; a :class:`iscsitools.scsi.core.unit.AtomicWriter`.

    It is made for the first atomic write, and open only during one.
    """

    longest = LONGEST

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    @staticmethod
    def can_keep(folder: Path) -> bool:
        """Whether what lies there outlives a power cut, as far as the kind of file system tells."""
        while not folder.exists() and folder.parent != folder:
            folder = folder.parent
        try:
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return not is_in_memory(fd)
        finally:
            os.close(fd)

    def write(self, store: Backstore, offset: int, data: memoryview) -> None:
        """Write as a whole. Raises what the store raises, and OSError of the file."""
        self._use(lambda journal: journal.write(store, offset, data))

    def recover(self, store: Backstore) -> int:
        """Finish what a power cut has broken off; returns its length in bytes. Raises OSError and MediumError."""
        return self._use(lambda journal: journal.recover(store)) if self.path.exists() else 0

    def _use(self, work: Callable[[AtomicJournal], _T]) -> _T:
        with self._lock:
            make_folders(str(self.path.parent))
            place = FileBackstore(str(self.path), size=SIZE)
            try:
                place.open()
            except BackstoreError as error:
                raise OSError(errno.EIO, str(error)) from None
            try:
                return work(AtomicJournal(place))
            finally:
                place.close()
