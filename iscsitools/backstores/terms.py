"""The words of the contract in :mod:`iscsitools.backstores.base`: errors, options, what a backstore says of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple


class BackstoreError(Exception):
    """A backstore cannot be made or opened; the text is one line for the user."""


class MediumError(Exception):
    """The bytes at ``offset`` cannot be read or written: MEDIUM ERROR with that block's LBA (SPC-4 4.5)."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Option:
    """One ``key=value`` of a backstore, filter or plugin, as the listings have it and as specs are parsed."""

    name: str
    parse: Callable[[str], Any]
    """Turns the text into a value; raises ValueError with the reason. See ``iscsitools.backstores.values``."""
    default: Any
    help: str


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backstore can say of itself; the disk turns it into mode and VPD pages."""

    read_only: bool = False
    volatile_cache: bool = False
    """A completed write may be lost at power failure until ``flush`` has returned (WCE, SBC-3 6.5.5)."""
    thin: bool = False
    """Unmapped blocks take no space and read as zeros; ``discard`` gives space back (LBPME)."""
    rotational: bool = False
    physical_block_size: int = 0
    """Bytes; 0: as the block size."""
    optimal_io_size: int = 0
    """Bytes; 0: not said."""
    crypto_erase: bool = False
    """What it keeps is encrypted, and ``crypto_erase`` changes the key (SANITIZE, SBC-3 4.11)."""


class Allocation(Enum):
    """The state of an extent."""

    MAPPED = "mapped"
    HOLE = "hole"
    """Takes no space and reads as zeros (SBC-3: deallocated)."""
    ZERO = "zero"
    """Takes space and reads as zeros (SBC-3: anchored)."""


class Extent(NamedTuple):
    """``length`` bytes from ``offset`` that are in the same state."""

    offset: int
    length: int
    state: Allocation


class Space(NamedTuple):
    """Bytes that a disk's blocks take of what it lies on, and that are left there for its holes, and for others'."""

    used: int
    free: int


class CloneSource:
    """What another backstore of the same kind copies from by its own means; see ``Backstore.clone_source``.

    Each kind derives its own, which keeps what it reads from open by itself: the backstore that gave it may be closed.
    """

    def close(self) -> None:
        """Let go of it. Called once, from any thread."""


@dataclass(frozen=True, slots=True)
class Setting:
    """An option of a filter as it is in force while the disk is served. See :meth:`Filter.settings`."""

    name: str
    value: Any
    """As its :attr:`Option.parse` returned it."""
    client: str = ""
    """A pattern (``*``, ``?``, ``[...]``) of the names of the initiators that it is for; empty: all."""
    until: float | None = None
    """When it ends, in seconds of ``time.monotonic``; None: when it is taken back."""
    text: str = field(default="", compare=False)
    """As it was given to :meth:`Filter.configure`; empty: it is of the spec."""
