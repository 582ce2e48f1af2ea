"""A file whose reads wait until a test lets them: the data path in C reads from a pipe in its place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from iscsitools.backstores.file import FileBackstore
from iscsitools.backstores.file_ring import NOTHING
from iscsitools.backstores.shortcut import FLIGHTS, NO_WRITE_BEFORE, READ_FLAGS, Shortcut, forget
from iscsitools.hookspecs import hookimpl

ISCSITOOLS_API = 1
STORES: list[HeldDisk] = []


class HeldDisk(FileBackstore):
    """``file``, and what holds a read of it. Nothing is read or written at once."""

    kind = "held"

    def open(self) -> None:
        super().open()
        STORES.append(self)
        self._words[READ_FLAGS] = -1
        self.durable_calls = 0

    def close(self) -> None:
        STORES.remove(self)
        super().close()

    @property
    def flights(self) -> int:
        return self._words[FLIGHTS]

    @property
    def asynchronous(self):  # type: ignore[no-untyped-def]
        return self._calls.operations if self._calls is not None else NOTHING

    def shortcut(self) -> Shortcut | None:
        self._words[NO_WRITE_BEFORE] = 0
        ring = self._calls.native if self.asynchronous and self._calls is not None else None
        return Shortcut("file", self._words, slow=lambda begin, end: None, ring=ring, ended=self._ended)

    def try_read_into(self, offset: int, buffer: memoryview) -> bool:  # type: ignore[override]
        return False

    def try_write(self, offset: int, buffer: memoryview) -> bool:  # type: ignore[override]
        return False

    def write_through(self, offset: int, buffer: memoryview) -> None:
        self.durable_calls += 1
        super().write_through(offset, buffer)

    @contextmanager
    def held(self) -> Iterator[Held]:
        """The next read waits; what comes behind it does not, but for what overlaps it."""
        held = Held(self)
        try:
            yield held
        finally:
            held.release()


class Held:
    """One read that waits: it is given to ``begin``, and gets its bytes with ``release``."""

    def __init__(self, store: HeldDisk) -> None:
        self._store = store
        self._out, self._in = os.pipe()

    def divert(self) -> None:
        """What is begun now reads from the pipe: the descriptor's number is that of the pipe for a moment."""
        store = self._store
        self._real = os.dup(store._fd)
        self._forget()
        os.dup2(self._out, store._fd)

    def back(self) -> None:
        """And what is begun from now on goes to the file."""
        store = self._store
        self._forget()
        os.dup2(self._real, store._fd)
        os.close(self._real)

    def _forget(self) -> None:
        """No ring has the file registered under its number."""
        store = self._store
        store._calls.native.forget(store._fd)  # type: ignore[union-attr]
        forget(store._fd)

    def release(self, data: bytes = b"") -> None:
        """The read gets these bytes; none: it finds the end of the file."""
        if self._in >= 0:
            if data:
                os.write(self._in, data)
            os.close(self._in)
            os.close(self._out)
        self._in = -1


@hookimpl
def register_backstores(register) -> None:  # type: ignore[no-untyped-def]
    register(HeldDisk)
