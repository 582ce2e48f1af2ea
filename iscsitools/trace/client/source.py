"""What a program reads events from: a running server or a recorded file, with the same methods."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from iscsitools.trace.events import ConnectionStrings, Event
from iscsitools.trace.protocol import Message, connection_of, number_of
from iscsitools.trace.record import decode


class Trace:
    """A stream of events. Iterate over it, or use :meth:`poll` for a report per interval.

    Usable in a ``with`` statement, which closes it. ``drops`` counts the events that were lost because nobody read
    them in time; ``ended`` says that no more will come; ``note`` is empty or says in one line what is wrong with the
    stream (a truncated file).
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.server: Message = {}
        """What the server said of itself: name, pid, version, its clocks at that time."""
        self.drops = 0
        self.ended = False
        self.note = ""
        self.names: dict[tuple[int, int], ConnectionStrings] = {}
        """The strings of the connections in what was read, by number and generation."""
        self.position = 0
        """How many records were read."""
        self._new: list[Message] = []
        self._closing: list[tuple[int, int]] = []
        self._gone: list[tuple[int, int]] = []
        """Closed connections whose strings are still known: after how many records they were closed, and who."""

    def read_block(self, timeout: float | None = None) -> bytes:
        """Return records, undecoded (see :mod:`iscsitools.trace.record`), as soon as there are any.

        Empty after ``timeout`` seconds without one, and when :attr:`ended`.
        """
        raise NotImplementedError  # abstract

    def close(self) -> None:
        """Let go of the server or the file. More than once does nothing."""
        raise NotImplementedError  # abstract

    def poll(self, timeout: float | None = None) -> list[Event]:
        """Return the next events as soon as there are any; empty as :meth:`read_block`."""
        return list(self._decoded(timeout))

    def __iter__(self) -> Iterator[Event]:
        while not self.ended:
            yield from self._decoded(None)

    def _decoded(self, timeout: float | None) -> Iterator[Event]:
        """Events, for who takes neither strings nor ends of connections: what is left of those is not kept for ever."""
        self.take_strings()
        self.take_closed()
        return decode(self.read_block(timeout), self.names)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def take_closed(self) -> list[int]:
        """Return the connections that were closed before the records that come next, each one once.

        Of who wants to know, before the next :meth:`poll` and the next turn of an iteration.
        """
        due = [ident for after, ident in self._closing if after <= self.position]
        self._closing = [pair for pair in self._closing if pair[0] > self.position]
        return due

    def take_strings(self) -> list[Message]:
        """Return the messages with connections' strings that came since the last call, for who passes them on."""
        new, self._new = self._new, []
        return new

    def _forget(self) -> None:
        """Drop the strings of connections of which no record comes any more."""
        gone = {ident for after, ident in self._gone if after <= self.position}
        if gone:
            self.names = {key: strings for key, strings in self.names.items() if key[0] not in gone}
            self._gone = [pair for pair in self._gone if pair[1] not in gone]

    def _absorb(self, message: Message) -> None:
        """Take in a message of the stream. Unknown ones are for newer readers. Raises TraceError for nonsense."""
        if "connection" in message:
            generation, strings = connection_of(message["connection"])
            self.names[strings.ident, generation] = strings
            self._new.append(message)
        elif "closed" in message:
            closed = number_of(message.get("after", self.position)), number_of(message["closed"])
            self._closing.append(closed)
            self._gone.append(closed)
        elif "drops" in message:
            self.drops = number_of(message["drops"])


class Timeout:
    """Counts down from a number of seconds, or never ends."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self, at_most: float) -> float:
        """Return the seconds left, not below 0 and not above ``at_most``."""
        return at_most if self._end is None else max(0.0, min(at_most, self._end - time.monotonic()))

    @property
    def over(self) -> bool:
        """Whether none are left."""
        return self._end is not None and time.monotonic() >= self._end
