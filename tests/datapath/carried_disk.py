"""A disk whose plain READs and WRITEs a data path in C hands to ``carried.c``, and the rest to Python."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from support.tools import needs

from iscsitools.backstores.base import Backstore, Operation, Request
from iscsitools.backstores.carrier import Carrier, carrier_of
from iscsitools.backstores.shortcut import Shortcut
from iscsitools.hookspecs import hookimpl

ISCSITOOLS_API = 1
SIZE = 1 << 20
_HERE = Path(__file__).parent


def build(folder: Path) -> ModuleType:
    """The module, built under the sanitizers too when this process runs under them."""
    file = folder / "carried.so"
    sanitizers = ["-fsanitize=address,undefined"] if "libasan" in os.environ.get("LD_PRELOAD", "") else []
    headers = [f"-I{_HERE.parent.parent / 'datapath'}", f"-I{sysconfig.get_path('include')}"]
    flags = ["-std=gnu11", "-g", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-shared", "-fPIC", "-pthread"]
    command = [needs("gcc", "gcc"), *flags, *sanitizers, *headers, "-o", str(file), str(_HERE / "carried.c")]
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    spec = importlib.util.spec_from_file_location("carried", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class CarriedDisk(Backstore):
    """1 MiB. ``requests``: what came by Python."""

    kind = "carried"
    asynchronous = frozenset({Operation.READ, Operation.WRITE})
    module: ClassVar[ModuleType]
    stores: ClassVar[list[CarriedDisk]] = []
    version: ClassVar[str] = "iscsitools.carrier.1"

    def __init__(self, what: str) -> None:
        self.what = what

    def open(self) -> None:
        self.memory = bytearray(b"o" * SIZE)
        self.disk: Any = self.module.Disk(self.memory)
        self.requests: list[Operation] = []
        self.errors: list[int] = []
        self._eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.carrier: Carrier | None = None
        self.stores.append(self)

    def close(self) -> None:
        self.stores.remove(self)
        self.disk.close()
        os.close(self._eventfd)

    @property
    def size(self) -> int:
        return SIZE

    def read_into(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = self.memory[offset : offset + len(buffer)]

    def write(self, offset: int, buffer: memoryview) -> None:
        self.memory[offset : offset + len(buffer)] = buffer

    def flush(self) -> None:
        pass

    def submit(self, request: Request) -> None:
        self.requests.append(request.operation)
        request.perform(self)
        request.complete()

    @property
    def completion_fd(self) -> int:
        return self._eventfd

    def reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._eventfd)
        if self.carrier is not None:
            self.carrier.reap()

    def shortcut(self) -> Shortcut | None:
        if self.carrier is None:
            self.carrier = carrier_of(self.disk.capsule(self.version), self._eventfd, self._ended)
        return self.carrier.shortcut() if self.carrier is not None else None

    def _ended(self, request: Request, result: int) -> None:
        self.errors.append(result)
        request.complete(None if result == request.length else OSError(-result, os.strerror(-result)))

    @property
    def flights(self) -> int:
        return self.carrier.under_way if self.carrier is not None else 0

    @contextlib.contextmanager
    def held(self) -> Iterator[Held]:
        held = Held(self)
        try:
            yield held
        finally:
            held.back()
            held.release()


class Held:
    """What is submitted between :meth:`divert` and :meth:`back` waits for :meth:`release`."""

    def __init__(self, store: CarriedDisk) -> None:
        self._store = store

    def divert(self) -> None:
        self._store.disk.set(True, False, 0)

    def back(self) -> None:
        self._store.disk.set(False, False, 0)

    def release(self, data: bytes = b"", result: int = 0) -> int:
        """It is done, or ends with ``result``; how many that were."""
        return int(self._store.disk.release(result))


@hookimpl
def register_backstores(register) -> None:  # type: ignore[no-untyped-def]
    register(CarriedDisk)
