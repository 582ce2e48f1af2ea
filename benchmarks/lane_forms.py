"""What lanes.py has served: forms of commands, the disks they go to, and what the bare loop does in their place."""

from __future__ import annotations

import ctypes
import mmap
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import disk

from iscsitools.backstores.base import Backstore
from iscsitools.backstores.file import FileBackstore
from iscsitools.backstores.null import NullBackstore
from iscsitools.backstores.ram import RamBackstore
from iscsitools.iscsi.connection.memory import address_of

CHUNK = 1 << 20
PREAD, COPY_FROM, CLEAR, PWRITE, COPY_TO, COUNT = range(6)
"""``enum bare`` of lanes.h."""


class Mapped:
    """Not a backstore: a file's mapping where ``ram`` has its chunks, so that a write is a copy into the page cache."""

    def __init__(self, path: Path, size: int) -> None:
        self.file = path.open("r+b")
        self.map = mmap.mmap(self.file.fileno(), size)
        self.words = array("q", [size, 0])
        begin = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        self.places = array("Q", [begin + at for at in range(0, size, CHUNK)])

    def shortcut(self) -> tuple[Any, ...]:
        """What the data path is offered."""
        return ("ram", self.words, {}, None, self.places)

    def close(self) -> None:
        """Let go of it; the mapping goes with the process."""
        self.file.close()


class Form(NamedTuple):
    """What is served, what the bare loop does instead, and how many disks there are: one for all, or one for each."""

    name: str
    writes: bool
    bare: int
    store: Callable[[Path, int], Backstore | Mapped]
    apart: bool = False


FORMS = (
    Form("read, file", False, PREAD, lambda path, _: FileBackstore(str(path))),
    Form("read, ram", False, COPY_FROM, lambda _, size: RamBackstore(str(size))),
    Form("read, null", False, CLEAR, lambda _, size: NullBackstore(str(size))),
    Form("write, one ram", True, COPY_TO, lambda _, size: RamBackstore(str(size))),
    Form("write, a ram each", True, COPY_TO, lambda _, size: RamBackstore(str(size)), apart=True),
    Form("write, one file", True, PWRITE, lambda path, _: FileBackstore(str(path))),
    Form("write, a file each", True, PWRITE, lambda path, _: FileBackstore(str(path)), apart=True),
    Form("write, one file's mapping", True, COPY_TO, Mapped),
    Form("processors", False, COUNT, lambda _, size: NullBackstore(str(size))),
)


class Disk(NamedTuple):
    """What a lane is about: a store, and where the bare loop finds the same bytes."""

    store: Any
    file: BinaryIO
    places: int


@contextmanager
def disks_of(form: Form, folder: Path, size: int, count: int) -> Iterator[list[Disk]]:
    """A disk for each thread, or the same for all; files are opened for each thread."""
    made: list[Disk] = []
    stores: list[Any] = []
    for number in range(count):
        path = folder / f"disk{number if form.apart else 0}"
        if form.apart or not stores:
            disk.prepare(path, size)
            stores.append(form.store(path, size))
            if isinstance(stores[-1], Backstore):
                stores[-1].open()
            if isinstance(stores[-1], RamBackstore):
                stores[-1].write(0, memoryview(bytes(size)))
        offer = stores[-1].shortcut()
        places = offer[4] if len(offer) > 4 else None
        made.append(Disk(stores[-1], path.open("r+b", buffering=0), address_of(memoryview(places)) if places else 0))
    yield made
    for one in made:
        one.file.close()
    for store in stores:
        store.close()
