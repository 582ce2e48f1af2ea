"""What the sums keep of each row beside its counts, as data: one line here is one histogram, in Python and in C.

A histogram is a value of a command, sorted into buckets by a scale. Whoever adds one of these values with another scale
or name writes a line into :data:`HISTOGRAMS`; only a new kind of value is code.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Any, Final, NamedTuple


class Value(IntEnum):
    """A number that is known of a command. The C twin knows them by these numbers."""

    SIZE = 0
    """Bytes that a command with an R or W flag is to move: its Expected Data Transfer Length (RFC 7143 11.3.3)."""
    PLACE = 1
    """The first logical block of the range that the CDB names (SBC-3 5.1)."""
    DISTANCE = 2
    """Logical blocks from the end of the range before it, of the same connection and LUN, to its first one."""
    DEPTH = 3
    """Commands that the initiator had under way on the connection when it sent this one, this one included."""
    BACKSTORE = 4
    """Nanoseconds of a command that ended well in which no transfer was open. These three are its phases."""
    WAITING = 5
    """Nanoseconds in which a command with the W flag waited for its data: a transfer was open."""
    SENDING = 6
    """Nanoseconds in which the data of a command with the R flag waited for the socket to take it."""


class Scale(IntEnum):
    """How values become buckets. The C twin knows them by these numbers."""

    OCTAVES = 0
    """Sixteen to a power of two, of either sign (:mod:`iscsitools.trace.sums.histogram`)."""
    WIDTHS = 1
    """Equal widths of a power of two, at most :data:`MOST_PLACES`: they double when a value is beyond the last."""


MOST_PLACES: Final = 128
"""Buckets of a histogram of equal widths."""


class Histogram(NamedTuple):
    """One histogram: its name in requests and rows, what it is of, and what that is counted in."""

    name: str
    value: Value
    scale: Scale
    unit: str


HISTOGRAMS: Final = (
    Histogram("size", Value.SIZE, Scale.OCTAVES, "bytes"),
    Histogram("lba", Value.PLACE, Scale.WIDTHS, "blocks"),
    Histogram("seek", Value.DISTANCE, Scale.OCTAVES, "blocks"),
    Histogram("depth", Value.DEPTH, Scale.OCTAVES, "commands"),
    Histogram("backstore", Value.BACKSTORE, Scale.OCTAVES, "nanoseconds"),
    Histogram("waiting", Value.WAITING, Scale.OCTAVES, "nanoseconds"),
    Histogram("sending", Value.SENDING, Scale.OCTAVES, "nanoseconds"),
)
"""All that may be asked for; the histogram of latencies is always kept."""
NAMES: Final = tuple(histogram.name for histogram in HISTOGRAMS)
PHASES: Final = ("backstore", "waiting", "sending")
"""Those of them that divide a command's time."""


def wanted(names: Any) -> tuple[Histogram, ...]:
    """Those of a request, in the order of :data:`HISTOGRAMS`; names that are not known are left out.

    Raises ValueError when it is no list of texts.
    """
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("histograms is not a list of names")
    return tuple(histogram for histogram in HISTOGRAMS if histogram.name in names)


def described(histograms: Iterable[Histogram]) -> dict[str, dict[str, str]]:
    """What a reader is told of them, by name."""
    return {h.name: {"unit": h.unit, "scale": h.scale.name.lower()} for h in histograms}
