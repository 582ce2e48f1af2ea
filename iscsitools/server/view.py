"""What plugins may ask the running server: their threads wait while the event loop answers."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from iscsitools.lifecycle import ServerGone, ServerNotice
from iscsitools.probes.firing import Probes
from iscsitools.server.loop import Loop
from iscsitools.trace.feed.questions import State
from iscsitools.trace.selection import Selection
from iscsitools.trace.sums.aggregate import CommandSums
from iscsitools.trace.sums.snapshot import Snapshot, take

_ANSWER_SECONDS: Final = 10.0

_T = TypeVar("_T")


class View:
    """The server as plugins see it; a :class:`iscsitools.lifecycle.ServerView`."""

    def __init__(self, loop: Loop, probes: Probes, state: State, notice: ServerNotice) -> None:
        self._loop = loop
        self._probes = probes
        self._state = state
        self._notice = notice
        self._sums: list[CommandSums] = []
        self._lock = threading.Lock()
        self._waiting: set[queue.SimpleQueue[Any]] = set()
        self._ended = False

    # -- for plugins, in threads of theirs

    @property
    def notice(self) -> ServerNotice:
        """See ``ServerView``."""
        return self._notice

    def status(self) -> dict[str, Any]:
        """See ``ServerView``."""
        return self._ask(self._state.status)

    def sessions(self) -> list[dict[str, Any]]:
        """See ``ServerView``."""
        return self._ask(lambda: list(self._state.sessions()))

    def keep_sums(self) -> _Sums:
        """See ``ServerView``."""
        sums = CommandSums(Selection())

        def begin() -> int:
            self._sums.append(sums)
            self._probes.subscribe(sums.mask, sums)
            return time.monotonic_ns()

        return _Sums(self, sums, self._ask(begin))

    def read(self, sums: CommandSums, since: int, reset: bool) -> Snapshot:
        """Read sums, for :class:`_Sums`."""
        return self._ask(lambda: take(since, time.monotonic_ns(), sums, None, reset))

    def drop(self, sums: CommandSums) -> None:
        """Keep sums no longer, for :class:`_Sums`."""

        def end() -> None:
            if sums in self._sums:
                self._sums.remove(sums)
                self._probes.subscribe(0, sums)

        try:
            self._ask(end)
        except ServerGone:
            return  # and the sums with it

    def _ask(self, question: Callable[[], _T]) -> _T:
        """Have ``question`` be called on the loop's thread, and return or raise what it does."""
        answer: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

        def call() -> None:
            try:
                answer.put((question(), None))
            except Exception as error:
                answer.put((None, error))

        with self._lock:
            if self._ended:
                raise ServerGone("the server has ended")
            self._waiting.add(answer)
        self._loop.call_soon(call)
        try:
            value, error = answer.get(timeout=_ANSWER_SECONDS)
        except queue.Empty:
            raise ServerGone("the server does not answer") from None
        finally:
            with self._lock:
                self._waiting.discard(answer)
        if error is not None:
            raise error
        result: _T = value
        return result

    # -- for the server, on the loop's thread

    def connection_closed(self, ident: int) -> None:
        """An iSCSI connection is no more. Call it outside of any event."""
        for sums in self._sums:
            sums.close(ident)

    def close(self) -> None:
        """Answer nobody any more; those who wait are told."""
        with self._lock:
            self._ended = True
            for answer in self._waiting:
                answer.put((None, ServerGone("the server has ended")))
        for sums in self._sums:
            self._probes.subscribe(0, sums)
        self._sums.clear()


class _Sums:
    """Sums that are kept for a plugin; a :class:`iscsitools.lifecycle.KeptSums`."""

    def __init__(self, view: View, sums: CommandSums, since: int) -> None:
        self._view = view
        self._sums = sums
        self._since = since

    def read(self, reset: bool = False) -> Snapshot:
        """See ``KeptSums``."""
        snapshot = self._view.read(self._sums, self._since, reset)
        if reset:
            self._since = snapshot.time
        return snapshot

    def close(self) -> None:
        """See ``KeptSums``."""
        self._view.drop(self._sums)
