"""What is asked of the server: one command of the NBD protocol, and whether two may be under way at once."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

Done = Callable[[OSError | None], None]
"""Called once, in the client's thread: None, or why it failed."""


class Kind(Enum):
    """The commands of the NBD protocol that a disk needs."""

    READ = auto()
    WRITE = auto()
    ZERO = auto()
    """Zeros that take space."""
    DISCARD = auto()
    """Zeros that need not (NBD_CMD_WRITE_ZEROES without NBD_CMD_FLAG_NO_HOLE)."""
    FLUSH = auto()
    STATUS = auto()
    """Which parts are allocated, and which read as zeros (``base:allocation``)."""


_CHANGES = frozenset({Kind.WRITE, Kind.ZERO, Kind.DISCARD})


class Command:
    """One command. Offsets and lengths are bytes; ``buffer`` is the caller's until ``done`` is called."""

    __slots__ = (
        "buffer",
        "changes",
        "done",
        "end",
        "entries",
        "failure",
        "fua",
        "kept",
        "kind",
        "mark",
        "offset",
        "tries",
    )

    def __init__(
        self, kind: Kind, offset: int, length: int, done: Done, buffer: memoryview | None = None, fua: bool = False
    ) -> None:
        self.kind = kind
        self.offset = offset
        self.end = offset + length
        self.buffer = buffer
        self.fua = fua
        self.done = done
        self.changes = kind in _CHANGES
        self.kept = False
        """It is one that was answered before, and is made again behind a new connection."""
        self.tries = 0
        """How often it was sent."""
        self.failure = 0
        """The error that the server, or the library, has given it."""
        self.mark = 0
        """Of a flush: how many changes had been answered when it was sent."""
        self.entries: list[int] = []
        """Of a status: lengths and flags, in turn."""

    @property
    def length(self) -> int:
        """Bytes."""
        return self.end - self.offset

    def conflicts(self, other: Command) -> bool:
        """Whether the two may not be under way at once: they overlap, and one changes what the other touches.

        A server promises nothing for such a pair, and a disk shows each block as it was before or after, whole.
        """
        return (self.changes or other.changes) and self.offset < other.end and other.offset < self.end
