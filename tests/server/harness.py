"""A server in a thread of the test's own process, with a backstore that does what the test says."""

from __future__ import annotations

import os
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from iscsitools.backstores.ram import RamBackstore
from iscsitools.config import load_config
from iscsitools.hookspecs import hookimpl
from iscsitools.initiator import Session
from iscsitools.plugins import PluginManager
from iscsitools.server.server import Server

IQN = "iqn.2026-11.example:server"
SECONDS = 60.0
TEST_UNIT_READY = bytes(6)
SYNCHRONIZE_CACHE = b"\x35" + bytes(9)


def eventually(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """Wait until ``condition()`` is true and return what it gave; fails after a minute."""
    deadline = time.monotonic() + SECONDS
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true in {SECONDS:.0f} s")
        time.sleep(0.005)
    return found


class Gate(RamBackstore):
    """A disk in memory. ``held``: verbs of which the calls wait for ``go``; ``errors``: what a verb raises."""

    kind = "gate"
    blocking = True

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.calls: list[str] = []
        self.held: set[str] = set()
        self.errors: dict[str, BaseException] = {}
        self.go = threading.Event()
        self.closed = 0
        self.grow_to = 0

    @property
    def size(self) -> int:
        if not self.grow_to:
            return super().size
        self.meet("size")
        return self.grow_to

    def meet(self, verb: str) -> None:
        self.calls.append(verb)
        if verb in self.held:
            self.go.wait()
        if verb in self.errors:
            raise self.errors[verb]

    def count(self, verb: str) -> int:
        return Counter(self.calls)[verb]

    def release(self) -> None:
        self.held.clear()
        self.go.set()

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.meet("read")
        super().read_into(offset, buffer)

    def write(self, offset: int, buffer: memoryview) -> None:
        self.meet("write")
        super().write(offset, buffer)

    def flush(self) -> None:
        self.meet("flush")
        super().flush()

    def discard(self, offset: int, length: int) -> None:
        self.meet("discard")
        super().discard(offset, length)

    def close(self) -> None:
        self.closed += 1
        super().close()


class Inline(Gate):
    """The same on the event loop."""

    kind = "inline"
    blocking = False


def plugin(**hooks: Callable[..., Any]) -> Any:
    """A plugin of these hooks."""
    return SimpleNamespace(ISCSITOOLS_API=1, **{name: hookimpl(hook) for name, hook in hooks.items()})


def register_backstores(register: Callable[[Any], None]) -> None:
    register(Gate)
    register(Inline)


def make_plugins(*plugins: Any) -> PluginManager:
    manager = PluginManager()
    manager.load()
    for number, each in enumerate((plugin(register_backstores=register_backstores), *plugins)):
        assert manager.register(each, f"test{number}").status == "loaded"
    return manager


def make_server(folder: Path, text: str, *plugins: Any) -> Server:
    """A server of a TOML document, not yet running; portals are 127.0.0.1:0 unless it says so."""
    file = folder / "target.toml"
    file.write_text(text if "portals" in text else 'portals = ["127.0.0.1:0"]\n' + text, encoding="utf-8")
    file.chmod(0o600)
    manager = make_plugins(*plugins)
    config, _ = load_config(str(file), manager.registry, manager.authenticators, {"provider": "none"})
    return Server(config, manager)


class Running:
    """A server that runs in a thread. ``error``: what its ``run`` raised."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.error: BaseException | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="server")
        self._thread.start()
        self._ready.wait(SECONDS)
        assert server.addresses
        self.addresses = [_address(text) for text in server.addresses]
        self.address = self.addresses[0]

    def _run(self) -> None:
        try:
            self.server.run(lambda _: self._ready.set())
        except BaseException as error:
            self.error = error
        finally:
            self._ready.set()

    def gate(self, lun: int = 0) -> Gate:
        store = self.server.assembly.stores[lun][1]
        assert isinstance(store, Gate)
        return store

    @property
    def reserved(self) -> int:
        """Bytes of the buffer memory that are in use."""
        return self.server.buffers.reserved

    def connect(self, target: str = IQN, name: str = "a", **how: Any) -> Session:
        """A session whose unit attentions are taken."""
        session = Session.connect(self.address, target, initiator=f"iqn.2026-11.example:{name}", **how)
        for number in range(len(self.server.assembly.stores)):
            session.command(TEST_UNIT_READY, number)
        return session

    def end(self) -> None:
        self.server.shut_down()
        self.join()

    def join(self) -> None:
        self._thread.join(SECONDS)
        assert not self._thread.is_alive(), "the server did not end"
        assert self.error is None, self.error


@contextmanager
def running(folder: Path, text: str, *plugins: Any) -> Iterator[Running]:
    """Run a server of this TOML document for the block; held calls are let go at its end."""
    found = Running(make_server(folder, text, *plugins))
    try:
        yield found
    finally:
        for _, store, _ in found.server.assembly.stores:
            if isinstance(store, Gate):
                store.release()
        found.server.shut_down()
        found.server.shut_down()
        found.join()
        eventually(lambda: not own_threads(), "the end of the server's threads")


def one_target(*luns: str, limits: str = "", more: str = "") -> str:
    """The TOML document of one target; ``luns``: stores, or tables' contents when they say ``store =``."""
    tables = ", ".join("{ " + (lun if "store =" in lun else f'store = "{lun}"') + " }" for lun in luns)
    return f'{more}\n[limits]\n{limits}\n[[target]]\niqn = "{IQN}"\nlun = [{tables}]\n'


def own_threads() -> list[str]:
    """The names of the threads that a server starts."""
    prefixes = ("lun", "login", "close", "lifecycle", "observer", "server")
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(prefixes)]


def descriptors(pid: int | str = "self") -> int:
    """How many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def read10(lba: int, blocks: int, fua: bool = False) -> bytes:
    return struct.pack(">BBIBHB", 0x28, 8 if fua else 0, lba, 0, blocks, 0)


def write10(lba: int, blocks: int, fua: bool = False) -> bytes:
    return struct.pack(">BBIBHB", 0x2A, 8 if fua else 0, lba, 0, blocks, 0)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
