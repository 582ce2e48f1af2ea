"""The changes that were answered and not flushed since, to be made again when the server was away.

A server that is started anew may have lost what was in its memory, as a disk that lost power. But here the initiator
does not notice: its session goes on. So whatever was answered since the last flush is kept, and made again in the same
order before anything else that touches the same blocks; making it twice does no harm.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from iscsitools_nbd.commands import Command, Kind


class _Change(NamedTuple):
    kind: Kind
    offset: int
    length: int
    data: bytes


_OVERHEAD = 256  # what an entry takes beside its data, roughly


class Changes:
    """Answered changes, in the order of their answers, from the last flush on."""

    def __init__(self) -> None:
        self._list: deque[_Change] = deque()
        self._first = 0
        self.bytes = 0
        """Of memory that the list takes."""

    @property
    def mark(self) -> int:
        """How many have been answered so far: what a flush that is sent now covers."""
        return self._first + len(self._list)

    def add(self, request: Command) -> None:
        """Keep a change that the server has answered; the buffer is copied.

        One that was durable by itself (FUA) is needed only behind others, which would come over it otherwise.
        """
        if request.fua and not self._list:
            return
        data = bytes(request.buffer) if request.buffer is not None else b""
        self._list.append(_Change(request.kind, request.offset, request.length, data))
        self.bytes += len(data) + _OVERHEAD

    def flushed(self, mark: int) -> None:
        """Forget what a flush has covered that was sent at ``mark``."""
        while self._first < mark and self._list:
            self.bytes -= len(self._list.popleft().data) + _OVERHEAD
            self._first += 1

    def again(self) -> list[Command]:
        """Requests that make them all again."""
        requests = []
        for change in self._list:
            buffer = memoryview(change.data) if change.kind is Kind.WRITE else None
            request = Command(change.kind, change.offset, change.length, lambda _: None, buffer)
            request.kept = True
            requests.append(request)
        return requests
