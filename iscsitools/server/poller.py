"""What tells which descriptors are ready: epoll, or what the system has in its place."""

from __future__ import annotations

import select
import selectors
from typing import Final, Protocol

READ: Final = 1
WRITE: Final = 4  # as EPOLLIN and EPOLLOUT: what epoll reports is passed on as it is


class Poller(Protocol):
    """What tells which descriptors are ready; interests and results are made of READ and WRITE (others: broken)."""

    def register(self, fd: int, interest: int) -> None:
        """Watch ``fd``."""

    def modify(self, fd: int, interest: int) -> None:
        """Watch it for something else."""

    def unregister(self, fd: int) -> None:
        """Watch it no more."""

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        """Wait for at most ``timeout`` seconds (-1: for ever); returns (fd, what) pairs."""


class _SelectorPoller:
    """The same where there is no epoll: kqueue, event ports or poll, as the selectors module picks."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    @staticmethod
    def _events(interest: int) -> int:
        reads = selectors.EVENT_READ if interest & READ else 0
        return reads | (selectors.EVENT_WRITE if interest & WRITE else 0)

    def register(self, fd: int, interest: int) -> None:
        if events := self._events(interest):
            self._selector.register(fd, events)

    def modify(self, fd: int, interest: int) -> None:
        known = fd in self._selector.get_map()
        if events := self._events(interest):
            (self._selector.modify if known else self._selector.register)(fd, events)
        elif known:
            self._selector.unregister(fd)

    def unregister(self, fd: int) -> None:
        if fd in self._selector.get_map():
            self._selector.unregister(fd)

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        ready = self._selector.select(None if timeout < 0 else timeout)
        return [
            (key.fd, (READ if events & selectors.EVENT_READ else 0) | (WRITE if events & selectors.EVENT_WRITE else 0))
            for key, events in ready
        ]


def make_poller() -> Poller:
    """Epoll where there is one."""
    return select.epoll() if hasattr(select, "epoll") else _SelectorPoller()
