"""Data threads: connections that need nothing but their data path are served by threads in C, on other processors.

The loop's thread accepts, logs in, and has all SCSI state. A connection whose last turn was
nothing but commands that the data path answered is *lent* to a data thread (``datapath/data_thread.c``), with its
socket and its data path. It comes back when something is to be done that only Python can do, as it was before that PDU;
or it is called back, when something has to be sent on it or its tasks are looked at (:meth:`Connection.own`). A gate
that is closed is closed for data threads too when the call that closes it returns (``datapath/users.h``).

Who looks at what data threads do has tracers in C, into which they fire (``Probes.of_threads``). While somebody looks
who has none, all connections are served here. When that changes, all come back, and are lent again.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, Final, Protocol

from iscsitools.backstores.shortcut import share
from iscsitools.config import Config
from iscsitools.errors import RunError
from iscsitools.iscsi.connection.datapath import DataPath
from iscsitools.probes.firing import Probes
from iscsitools.server.loop import Loop
from iscsitools.server.poller import READ
from iscsitools.server.tcp_connection import TcpConnection

_MOST_USEFUL: Final = 8
"""Of threads that nobody asked for by number: up to so many each have a descriptor of their own for a file."""
_HELD: Final = 32 << 20
"""Bytes that a thread holds for its connections at most (``MOST_KEPT`` of datapath/data_thread_turn.c)."""
_SHARE: Final = 4
"""Of ``buffer_memory`` at most so much, one part of four, is for threads that nobody asked for by number."""
_MILLISECOND: Final = 1_000_000
_SHORT_STAY: Final = 20 * _MILLISECOND
_FIRST_PAUSE: Final = _MILLISECOND
_LONGEST_PAUSE: Final = 1000 * _MILLISECOND
Rest = tuple[TcpConnection, bytes, bytes, int]
"""A connection that has come back: what was received and not served, what was not sent, bytes put in all."""


class DataThread(Protocol):
    """``_native.DataThread``."""

    busy_poll: int
    """For how many nanoseconds it looks again, before it sleeps."""

    @property
    def guests(self) -> int:
        """How many connections it has."""

    @property
    def cpu(self) -> int:
        """Nanoseconds of processor time that it has used."""

    def lend(self, path: DataPath, fd: int, owner: TcpConnection, received: bytes, tracers: Any) -> None:
        """Serve a connection from now on; its events go into ``tracers``, a set of this thread's own, or None."""

    def recall(self, path: DataPath) -> Rest:
        """Call it back, and wait for it."""

    def take_back(self) -> list[Rest]:
        """Those that have come back by themselves."""

    def landed(self) -> list[tuple[tuple[Callable[[Any, int], None], Any], int]]:
        """Calls to be made, with an argument and a result, for commands that were in the disk when they came back."""

    def forget(self, fd: int) -> None:
        """A file is going to be closed, which no connection is at."""

    def fileno(self) -> int:
        """A descriptor that can be read when there are such connections or commands."""

    def end(self) -> None:
        """End the thread, which has no connections any more."""


class _Stay:
    """What is known of a connection that was lent: its thread, since when, and when it may be lent again."""

    __slots__ = ("again", "number", "pause", "since", "thread")

    def __init__(self, thread: DataThread, number: int) -> None:
        self.thread = thread
        self.number = number
        self.since = self.again = 0
        self.pause = _FIRST_PAUSE


class DataThreads:
    """The data threads of a server. All methods are for the loop's thread."""

    def __init__(self, loop: Loop, module: ModuleType, count: int, probes: Probes) -> None:
        """Start ``count`` threads of ``module``, the data path in C."""
        self._loop = loop
        self._probes = probes
        self.threads: list[DataThread] = []
        self._stays: dict[TcpConnection, _Stay] = {}
        for _ in range(count):
            thread: DataThread = module.DataThread()
            self.threads.append(thread)
            loop.watch(thread.fileno(), READ, partial(self._returned, thread))
        share(module.settle, count, self._forget_file)
        probes.threads = count
        probes.when_changed = self.call_all_back

    def poll_busily(self, nanoseconds: int) -> None:
        """For how long each looks again after it found work, before it sleeps."""
        for thread in self.threads:
            thread.busy_poll = nanoseconds

    def takes(self, tcp: TcpConnection) -> bool:
        """Whether a connection may be lent now.

        One that soon came back stays for a while, longer each time: to lend it and take it back costs as much as many
        commands.
        """
        if self._probes.mask and self._probes.of_threads is None:
            return False
        stay = self._stays.get(tcp)
        return stay is None or time.monotonic_ns() >= stay.again

    def _stay_of(self, tcp: TcpConnection) -> _Stay:
        """What is known of it: its thread is the one that had it before, else the one with the fewest."""
        stay = self._stays.get(tcp)
        if stay is None:
            counts = [sum(other.thread is thread for other in self._stays.values()) for thread in self.threads]
            number = counts.index(min(counts))
            stay = self._stays[tcp] = _Stay(self.threads[number], number)
        return stay

    def put_off(self, tcp: TcpConnection) -> None:
        """A connection could not be lent: not again for a while, longer each time."""
        stay = self._stay_of(tcp)
        stay.pause = min(2 * stay.pause, _LONGEST_PAUSE)
        stay.again = time.monotonic_ns() + stay.pause

    def lend(self, tcp: TcpConnection, fd: int) -> None:
        """Have a thread serve a connection: the one that had it before, else the one with the fewest."""
        stay = self._stay_of(tcp)
        conn = tcp.conn
        stay.since = time.monotonic_ns()
        sets = self._probes.of_threads
        tracers = sets[stay.number] if sets is not None else None
        stay.thread.lend(conn.path, fd, tcp, conn.leave_input(), tracers)
        conn.call_back = partial(self._call_back, tcp)

    def _call_back(self, tcp: TcpConnection) -> None:
        rest = self._stays[tcp].thread.recall(tcp.conn.path)
        self._take(rest)

    def _returned(self, thread: DataThread, _what: int) -> None:
        for rest in thread.take_back():
            self._take(rest)
        for (ended, what), result in thread.landed():
            ended(what, result)

    def _take(self, rest: Rest) -> None:
        tcp, received, unsent, put = rest
        stay = self._stays[tcp]
        now = time.monotonic_ns()
        stay.pause = min(2 * stay.pause, _LONGEST_PAUSE) if now - stay.since < _SHORT_STAY else _FIRST_PAUSE
        stay.again = now + stay.pause
        tcp.come_back(received, unsent, put)

    def _forget_file(self, fd: int) -> None:
        for thread in self.threads:
            thread.forget(fd)

    def call_all_back(self) -> None:
        """Have all connections served by the loop's thread for now: who looks at them has changed."""
        for tcp in self._stays:
            tcp.conn.own()

    def forget(self, tcp: TcpConnection) -> None:
        """A connection has ended."""
        self._stays.pop(tcp, None)

    def close(self) -> None:
        """End the threads; all connections have ended."""
        self._probes.when_changed = None
        self._probes.threads = 0
        share(None)
        for thread in self.threads:
            self._loop.unwatch(thread.fileno())
            self._returned(thread, READ)
            thread.end()


def useful(module: ModuleType | None, buffer_memory: int) -> int:
    """How many data threads ``auto`` means: one for each processor that this process may use, at most 8.

    So few that they hold no more than a quarter of ``buffer_memory`` (4 with its default, 512 MiB). 1, which is none
    beside the loop's thread, on one processor and where there can be no data threads.
    """
    if unsupported(module):
        return 1
    return max(1, min(len(os.sched_getaffinity(0)), _MOST_USEFUL, buffer_memory // (_SHARE * _HELD)))


def beside_threads(buffer_memory: int, count: int) -> int:
    """Bytes of ``buffer_memory`` that are the loop's beside so many data threads: half, at least, of any."""
    return max(buffer_memory - count * _HELD, buffer_memory // 2)


def unsupported(module: ModuleType | None) -> str:
    """Why there can be no data threads; empty: there can."""
    if module is None:
        return "data threads need the data path in C"
    return "" if hasattr(module, "DataThread") else f"there are no data threads on {sys.platform}"


def start_threads(config: Config, loop: Loop, module: ModuleType | None, probes: Probes) -> DataThreads | None:
    """The data threads that were asked for; None: the loop's thread serves all. Raises RunError."""
    count = config.threads or useful(module, config.limits.buffer_memory)
    if count == 1:
        return None
    if reason := unsupported(module):
        raise RunError(f"threads {count}: {reason}")
    assert module is not None
    threads = DataThreads(loop, module, count, probes)
    threads.poll_busily(config.limits.busy_poll * 1000)
    return threads
