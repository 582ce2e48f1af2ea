"""The number columns of ``top``, as data: what each is called, how wide it is, what it shows, and what it sorts by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from iscsitools.trace.sums.histogram import lower_bound, percentile
from iscsitools.trace.views.top.model import Row

SHARES: Final = {"P50": 0.5, "P90": 0.9, "P99": 0.99, "P99.9": 0.999}
"""The percentiles to choose from."""
SHARE: Final = "P99"
"""The one at first."""


def number(value: float, width: int = 5) -> str:
    """A rate or a count in at most ``width`` characters, 3 or more: ``99999``, ``123K``, ``1.2M``, ``.1M``."""
    text = f"{value:.0f}"
    if len(text) <= width:
        return text
    for unit in "KMGTPE":
        value /= 1000
        text = f"{value:.1f}".lstrip("0") + unit
        if value >= 9.95 or len(text) > width:
            text = f"{value:.0f}{unit}"
        if value < 999.5 and len(text) <= width:
            break
    return text


def duration(nanoseconds: float) -> str:
    """A latency in at most five characters: ``87us``, ``1.2ms``, ``350ms``, ``2.1s``; ``-`` for none."""
    if not nanoseconds:
        return "-"
    for unit, size in (("us", 1e3), ("ms", 1e6), ("s", 1e9)):
        value = nanoseconds / size
        if value < 9.95:
            return f"{value:.1f}{unit}"
        if value < 999.5 or (unit == "s" and value < 9999.5):
            return f"{value:.0f}{unit}"
    return f"{nanoseconds / 3.6e12:.0f}h"


def size(octets: float) -> str:
    """An average size in at most four characters, in units of 1024: ``512``, ``4.0K``, ``128K``, ``-`` for none."""
    if not octets:
        return "-"
    for unit in ("", "K", "M", "G"):
        if octets < 999.5:
            return f"{octets:.1f}{unit}" if unit and octets < 9.95 else f"{octets:.0f}{unit}"
        octets /= 1024
    return f"{octets:.0f}T"


class NumberColumn(NamedTuple):
    """A column. ``value`` and ``text`` are of a row, and of the percentile that is chosen."""

    width: int
    value: Callable[[Row, float], float]
    text: Callable[[float, int], str]


def _number(value: float, width: int) -> str:
    return number(value, width)


def _duration(value: float, width: int) -> str:
    return duration(value)


def _size(value: float, width: int) -> str:
    return size(value)


def _average_queue(value: float, width: int) -> str:
    return f"{value:.1f}" if value < 99.95 else number(value, width)


def _middle(histogram: Mapping[int, int]) -> float:
    """The average of values that are in buckets."""
    total = sum(count * (lower_bound(n) + lower_bound(n + 1)) / 2 for n, count in histogram.items() if n)
    return total / count_of if (count_of := sum(histogram.values())) else 0.0


def _share(value: float, width: int) -> str:
    return f"{value:.0%}" if value >= 0 else "-"


def _per(total: int, parts: int) -> float:
    return total / parts if parts else 0.0


COLUMNS: Final[dict[str, NumberColumn]] = {
    "R/s": NumberColumn(5, lambda row, share: row.reads, _number),
    "W/s": NumberColumn(5, lambda row, share: row.writes, _number),
    "RKB/s": NumberColumn(6, lambda row, share: row.read_kb, _number),
    "WKB/s": NumberColumn(6, lambda row, share: row.write_kb, _number),
    "AVG": NumberColumn(5, lambda row, share: row.average, _duration),
    "P": NumberColumn(5, lambda row, share: percentile(row.counters.histogram, share), _duration),
    "QD": NumberColumn(3, lambda row, share: row.in_flight, _number),
    "ERR": NumberColumn(4, lambda row, share: row.errors, _number),
    "RAVG": NumberColumn(5, lambda row, share: _per(row.counters.read_latency, row.counters.read_timed), _duration),
    "RP": NumberColumn(6, lambda row, share: percentile(row.counters.read_histogram, share), _duration),
    "WAVG": NumberColumn(5, lambda row, share: _per(row.counters.write_latency, row.counters.write_timed), _duration),
    "WP": NumberColumn(6, lambda row, share: percentile(row.counters.write_histogram, share), _duration),
    "AQU": NumberColumn(4, lambda row, share: row.queue, _average_queue),
    "RSZ": NumberColumn(4, lambda row, share: _per(row.counters.read_bytes, row.counters.reads), _size),
    "WSZ": NumberColumn(4, lambda row, share: _per(row.counters.write_bytes, row.counters.writes), _size),
    "FLU": NumberColumn(4, lambda row, share: row.flushes, _number),
    "UNM": NumberColumn(4, lambda row, share: row.unmaps, _number),
    "BUSY": NumberColumn(4, lambda row, share: row.busy if row.busy is not None else -1.0, _share),
    "BACK": NumberColumn(5, lambda row, share: _middle(row.counters.backstore_histogram), _duration),
    "BP": NumberColumn(6, lambda row, share: percentile(row.counters.backstore_histogram, share), _duration),
    "DATA": NumberColumn(5, lambda row, share: _middle(row.counters.waiting_histogram), _duration),
    "DP": NumberColumn(6, lambda row, share: percentile(row.counters.waiting_histogram, share), _duration),
    "SEND": NumberColumn(5, lambda row, share: _middle(row.counters.sending_histogram), _duration),
    "SP": NumberColumn(6, lambda row, share: percentile(row.counters.sending_histogram, share), _duration),
}
"""By name; those that end in P are headed by the percentile that is chosen."""

VIEWS: Final[dict[str, tuple[str, ...]]] = {
    "load": ("R/s", "W/s", "RKB/s", "WKB/s", "AVG", "P", "QD", "ERR"),
    "latency": ("R/s", "RAVG", "RP", "W/s", "WAVG", "WP", "AQU", "QD"),
    "requests": ("R/s", "RSZ", "RKB/s", "W/s", "WSZ", "WKB/s", "FLU", "UNM"),
    "phases": ("BUSY", "BACK", "BP", "DATA", "DP", "SEND", "SP"),
}
"""Which columns stand together; each of these fits 80 columns with the keys of a row and four cells of its graph."""

ALL: Final = "ALL/s"
"""What rows are sorted by at first: reads and writes together, which is no column of its own."""


def heading(name: str, percentile_name: str) -> str:
    """What stands above a column."""
    return name[:-1] + percentile_name if name in ("P", "RP", "WP", "BP", "DP", "SP") else name


def sort_value(name: str, share: float) -> Callable[[Row], float]:
    """What rows are sorted by, by a column's name or ``ALL``."""
    if name == ALL:
        return lambda row: row.rate
    column = COLUMNS[name]
    return lambda row: column.value(row, share)
