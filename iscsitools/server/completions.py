"""Asynchronous calls of one backstore: from the loop into it, and back in batches."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from iscsitools.backstores.base import Backstore, Request
from iscsitools.repeats import RepeatLimit
from iscsitools.server.loop import Loop
from iscsitools.server.poller import READ

log = logging.getLogger(__name__)
log.addFilter(RepeatLimit())
_NOT_ASKED: Final = -2
_LOOK_AGAIN: Final = 1.0
Done = Callable[[BaseException | None], None]


class Completions:
    """What was submitted and is not yet reported. All methods but ``_complete`` are for the loop's thread.

    A completion in another thread appends to a deque, and the first since the loop has looked wakes it: the others that
    come until then cost no wake-up. While ``reap`` runs nothing has to be woken.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._waiting: dict[Request, Done] = {}
        self._reported: deque[tuple[Request, BaseException | None]] = deque()
        self._awake = False
        """The loop is going to look at the deque."""
        self._fd = _NOT_ASKED
        self._reaps: Callable[[int], None] = _nothing

    @property
    def running(self) -> int:
        """Requests that were submitted and have not been reported or withdrawn."""
        return len(self._waiting)

    def ask(self, store: Backstore, request: Request, done: Done) -> Callable[[], bool]:
        """Submit ``request``; ``done`` gets its error, or None, later and on the loop. Returns what takes it back."""
        self._waiting[request] = done
        request.begin(self._complete)
        try:
            self.listen(store)
            store.submit(request)
        except BaseException as error:
            request.complete(error)
        return partial(self._withdraw, store, request)

    def listen(self, store: Backstore) -> None:
        """Watch the store's descriptor, if that is not done yet."""
        if self._fd == _NOT_ASKED:
            self._watch(store)

    def expect(self, request: Request, done: Done) -> None:
        """A request is under way that was not submitted here; ``done`` as for :meth:`ask`."""
        self._waiting[request] = done
        request.begin(self._complete)

    def _watch(self, store: Backstore) -> None:
        self._fd = store.completion_fd
        if self._fd >= 0:
            self._reaps = partial(self._reap, store)
            self._loop.share(self._fd, self._reaps)

    def _withdraw(self, store: Backstore, request: Request) -> bool:
        if request not in self._waiting:
            return False
        try:
            taken_back = store.cancel(request) is True
        except BaseException as error:
            _failed(store, "cancel", error)
            return False
        if taken_back:
            del self._waiting[request]  # and a completion that comes all the same is nobody's
        return taken_back

    def _complete(self, request: Request, error: BaseException | None) -> None:
        self._reported.append((request, error))
        if not self._awake:
            self._awake = True
            self._loop.call_soon(self._report)

    def _reap(self, store: Backstore, _what: int) -> None:
        self._awake = True
        try:
            store.reap()
        except BaseException as error:
            # The descriptor may still be readable, and the loop must not turn for it. What is under way stays so, as
            # a call that does not return: nobody knows whether the store still uses its buffers.
            _failed(store, "reap", error)
            self._loop.change(self._fd, 0)
            self._loop.call_later(_LOOK_AGAIN, self._watch_again)
        self._report()

    def _watch_again(self) -> None:
        if self._fd >= 0:
            self._loop.change(self._fd, READ)

    def _report(self) -> None:
        self._awake = False
        reported = self._reported
        for _ in range(len(reported)):
            request, error = reported.popleft()
            done = self._waiting.pop(request, None)
            if done is not None:
                done(error)

    def close(self) -> None:
        """Watch the store's descriptor no more."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError, ValueError, KeyError):
                self._loop.share_no_more(fd, self._reaps)


def _nothing(_what: int) -> None:
    """Nothing is watched."""


def _failed(store: Backstore, name: str, error: BaseException) -> None:
    log.error(
        "%s: %s of the backstore failed: %s: %s", store.kind, name, type(error).__name__, error,
        extra={"repeats": (store.kind, name, type(error))},
    )  # fmt: skip
