"""A folder whose changes are recorded, so that it can be seen as any power failure could leave it.

While it is recorded, :mod:`os`'s calls that change files are watched: pwrite, pwritev (RWF_DSYNC too), ftruncate,
fallocate by ``iscsitools.backstores.holes``, fsync, fdatasync, rename, replace, unlink, open; and the calls of
:class:`iscsitools.backstores.ring.Ring` that do the same, which end at once meanwhile. What reaches files in another
way, by :class:`io.BufferedWriter` or a library in C, is not seen.

The model of the disk: a write is durable, whole, when a sync of its file that began after it has returned; before, it
may be there or not, each write for itself and each of its sectors of 512 bytes for itself. A new length, a new name and
a file that is gone are as durable as the sync of the file, or of the folder.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest import mock

from iscsitools.backstores import holes
from iscsitools.backstores.file import FileBackstore
from iscsitools.backstores.ring import Ended, Ring

SECTOR: Final = 512
_PUNCH_OR_ZERO: Final = 0x12  # FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE
_KEEP_SIZE: Final = 0x01


@dataclass(slots=True, eq=False)
class _Change:
    """Bytes at an offset, or with ``data`` None a new length."""

    offset: int
    data: bytes | None


@dataclass(slots=True, eq=False)
class _File:
    """A file's durable content, and what has been done to it since."""

    content: bytearray = field(default_factory=bytearray)
    pending: list[_Change] = field(default_factory=list)

    def apply(self, change: _Change, content: bytearray) -> None:
        if change.data is None:
            del content[change.offset :]
            content.extend(bytes(change.offset - len(content)))
            return
        content.extend(bytes(max(0, change.offset + len(change.data) - len(content))))
        content[change.offset : change.offset + len(change.data)] = change.data

    def settle_now(self, change: _Change) -> None:
        """Take a write for durable, and with it what its bytes are: older writes of them have no more to come."""
        assert change.data is not None
        start, end = change.offset, change.offset + len(change.data)
        older, self.pending = self.pending, []
        for each in older:
            self.pending += [each] if each.data is None else _beside(each.offset, each.data, start, end)
        self.apply(change, self.content)

    def settle(self, changes: list[_Change]) -> None:
        for change in changes:
            self.apply(change, self.content)
        self.pending = [change for change in self.pending if change not in changes]

    def after_failure(self, numbers: random.Random, share: float) -> bytes:
        """The content that a power failure may leave; ``share`` of what is pending has reached the disk."""
        content = bytearray(self.content)
        for change in self.pending:
            if change.data is None or len(change.data) <= SECTOR:
                if numbers.random() < share:
                    self.apply(change, content)
                continue
            torn = numbers.random() < 0.3
            whole = numbers.random() < share
            for at in range(0, len(change.data), SECTOR):
                if numbers.random() < share if torn else whole:
                    self.apply(_Change(change.offset + at, change.data[at : at + SECTOR]), content)
        return bytes(content)


def _beside(offset: int, data: bytes, start: int, end: int) -> list[_Change]:
    """What of a write lies outside of ``start`` to ``end``."""
    parts = (_Change(offset, data[: max(0, start - offset)]), _Change(max(offset, end), data[max(0, end - offset) :]))
    return [part for part in parts if part.data]


def _ring_write(
    _ring: Ring, fd: int, offset: int, buffer: memoryview, flags: int, _direct: bool, ended: Ended, request: object
) -> None:
    """What a ring does, by the calls of :mod:`os` that are watched."""
    with mmap.mmap(-1, len(buffer)) as memory, memoryview(memory) as aligned:
        aligned[:] = buffer
        ended(request, os.pwritev(fd, (aligned,), offset, flags))


def _ring_sync(_ring: Ring, fd: int, ended: Ended, request: object) -> None:
    os.fdatasync(fd)
    ended(request, 0)


def _ring_allocate(_ring: Ring, fd: int, mode: int, offset: int, length: int, ended: Ended, request: object) -> None:
    allocate = holes._fallocate
    failed = allocate is None or allocate(fd, mode, offset, length) != 0
    ended(request, -ctypes.get_errno() if failed else 0)


class WriteRecorder:
    """Records one folder, which has no folders in it.

    ``at_moment`` is called after each change and before a sync has done its work, when it may write an image: so the
    power can fail within a call. What it does itself is not recorded.
    """

    def __init__(self, folder: Path) -> None:
        self.at_moment: Callable[[], None] | None = None
        self._folder = os.path.realpath(folder)
        self._lock = threading.RLock()
        self._inodes: dict[int, _File] = {}
        self._names: dict[str, _File] = {}
        self._durable_names: dict[str, _File] = {}
        for path in Path(self._folder).iterdir():
            file = self._inodes[path.stat().st_ino] = _File(bytearray(path.read_bytes()))
            self._names[path.name] = self._durable_names[path.name] = file

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Watch :mod:`os` for the block. Other files are left alone; other threads are watched too."""
        with ExitStack() as stack:
            watched = {name: self._watch(name) for name in (
                "pwrite", "pwritev", "ftruncate", "fsync", "fdatasync", "rename", "replace", "unlink", "open",
            )}  # fmt: skip
            bound = {getattr(os, name): function for name, function in watched.items()}
            for name, function in watched.items():
                stack.enter_context(mock.patch.object(os, name, function))
            stack.enter_context(mock.patch.object(holes, "_fallocate", self._watch_fallocate(holes._fallocate)))
            for name, call in (("write", _ring_write), ("sync", _ring_sync), ("allocate", _ring_allocate)):
                stack.enter_context(mock.patch.object(Ring, name, call))
            fast = FileBackstore.try_write  # it has os's functions as defaults, for speed
            defaults = tuple(bound.get(value, value) for value in fast.__defaults__ or ())
            stack.enter_context(mock.patch.object(fast, "__defaults__", defaults))
            yield

    def _watch(self, name: str) -> Callable[..., Any]:
        real = getattr(os, name)
        note: Callable[..., None] = getattr(self, f"_{name}")

        def watched(*arguments: Any, **named: Any) -> Any:
            with self._lock:
                result = real(*arguments, **named)
                note(result, *arguments)
                return result

        return watched

    def _watch_fallocate(self, real: Callable[..., int] | None) -> Callable[..., int] | None:
        if real is None:
            return None

        def watched(fd: int, mode: int, offset: int, length: int) -> int:
            with self._lock:
                result: int = real(fd, mode, offset, length)
                file = self._of(fd)
                if result == 0 and file is not None and mode & _PUNCH_OR_ZERO and mode & _KEEP_SIZE:
                    length = min(length, os.fstat(fd).st_size - offset)
                    if length > 0:
                        self._add(file, _Change(offset, bytes(length)))
                return result

        return watched

    def _moment(self) -> None:
        call, self.at_moment = self.at_moment, None  # not from within itself
        if call is not None:
            try:
                call()
            finally:
                self.at_moment = self.at_moment or call

    def _of(self, fd: int) -> _File | None:
        """The recorded file of a descriptor."""
        return self._inodes.get(os.fstat(fd).st_ino)

    def _add(self, file: _File, change: _Change, durable: bool = False) -> None:
        file.pending.append(change)
        self._moment()
        if durable:
            file.pending.remove(change)
            file.settle_now(change)

    def _pwrite(self, count: int, fd: int, data: Any, offset: int) -> None:
        file = self._of(fd)
        if file is not None:
            self._add(file, _Change(offset, bytes(memoryview(data)[:count])))

    def _pwritev(self, count: int, fd: int, buffers: Any, offset: int, flags: int = 0) -> None:
        file = self._of(fd)
        if file is not None:
            data = b"".join(bytes(buffer) for buffer in buffers)[:count]
            self._add(file, _Change(offset, data), durable=bool(flags & getattr(os, "RWF_DSYNC", 0)))

    def _ftruncate(self, _: None, fd: int, length: int) -> None:
        file = self._of(fd)
        if file is not None:
            self._add(file, _Change(length, None))

    def _fdatasync(self, _: None, fd: int) -> None:
        self._moment()
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            if os.path.samestat(status, os.stat(self._folder)):
                self._durable_names = dict(self._names)
            return
        file = self._inodes.get(status.st_ino)
        if file is not None:
            file.settle(list(file.pending))

    _fsync = _fdatasync

    def _open(self, fd: int, path: Any, flags: int = 0, *_: Any) -> None:
        if not flags & os.O_CREAT or os.path.realpath(os.path.dirname(os.fspath(path)) or ".") != self._folder:
            return
        name, inode = os.path.basename(os.fspath(path)), os.fstat(fd).st_ino
        if name not in self._names or self._inodes.get(inode) is not self._names[name]:
            self._inodes[inode] = self._names[name] = _File()
        elif flags & os.O_TRUNC:
            self._names[name].pending.append(_Change(0, None))
        self._moment()

    def _rename(self, _: None, source: Any, target: Any) -> None:
        name = os.path.basename(os.fspath(source))
        if os.path.realpath(os.path.dirname(os.fspath(target))) == self._folder and name in self._names:
            self._names[os.path.basename(os.fspath(target))] = self._names.pop(name)
            self._moment()

    _replace = _rename

    def _unlink(self, _: None, path: Any) -> None:
        if os.path.realpath(os.path.dirname(os.fspath(path))) == self._folder:
            self._names.pop(os.path.basename(os.fspath(path)), None)
            self._moment()

    def write_image(self, folder: Path, seed: int, share: float) -> None:
        """Write into ``folder`` what a power failure now could leave; of what is not durable ``share`` (0 to 1) is."""
        numbers = random.Random(seed)
        with self._lock:
            names = self._names if numbers.random() < share else self._durable_names
            for name, file in names.items():
                (folder / name).write_bytes(file.after_failure(numbers, share))
