"""The lines of ``top``: for its screen, and plain for ``--batch``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from iscsitools.probes.lun import lun_text
from iscsitools.trace.views.top.model import GROUPS, SORTS, Row, ServerLine, TopModel
from iscsitools.trace.views.width import LINE, columns_of, fill, shorten

_KEY_WIDTHS: Final = {"CLIENT": 15, "TARGET": 8, "LUN": 3, "SERVER": 15}
_LENDS: Final = {"TARGET": 4, "CLIENT": 8}
"""Who gives room to a LUN that needs more than its column, in this order, and what each keeps."""
_NUMBERS: Final = {"R/s": 5, "W/s": 5, "RKB/s": 6, "WKB/s": 6, "AVG": 5, "P99": 5, "QD": 3, "ERR": 4}
_NUMBERS_WIDTH: Final = sum(width + 1 for width in _NUMBERS.values())
_GRAPH_LEAST: Final = 4
_GRAPH_MOST: Final = 60
_NAME_MOST: Final = 40
"""How much wider than its least width the target's column gets."""
_BARS: Final = " ▁▂▃▄▅▆▇█"
_ASCII_BARS: Final = " .:-=+*#@"


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


def short_target(iqn: str) -> str:
    """What tells a target from its neighbours: the part after the colon, or the name as it is."""
    return iqn.partition(":")[2] or iqn


def sparkline(values: Sequence[float], width: int, ascii_only: bool = False) -> str:
    """The newest values at the right; when there are more than ``width``, neighbours are averaged."""
    bars = _ASCII_BARS if ascii_only else _BARS
    per = -(-len(values) // width) if values else 1
    points = [sum(part) / len(part) for part in _parts(values, per)]
    most = max(points, default=0.0)
    marks = [bars[-(-int(p * 1000) * (len(bars) - 1) // int(most * 1000))] if most >= 0.001 else " " for p in points]
    return "".join(marks).rjust(width)


def _parts(values: Sequence[float], per: int) -> list[Sequence[float]]:
    """Pieces of ``per`` values, the newest whole."""
    first = len(values) % per
    head = [values[:first]] if first else []
    return head + [values[n : n + per] for n in range(first, len(values), per)]


class Layout:
    """How wide the columns are on a screen of ``width``, for ``rows``.

    The client's or server's name takes what it needs of what is left over, the target's name and the graph the rest.
    """

    def __init__(self, group: str, width: int, rows: Iterable[Row] = ()) -> None:
        self.headings = GROUPS[group][0]
        self.widths = {name: _KEY_WIDTHS[name] for name in self.headings}
        left = width - _NUMBERS_WIDTH - sum(self.widths[name] + 1 for name in self.headings)
        if (first := self.headings[0]) != "TARGET":
            longest = max((columns_of(row.key[0]) for row in rows), default=0)
            left -= self._grow(first, min(longest - self.widths[first], left - _GRAPH_LEAST))
        if "TARGET" in self.headings:
            # Half of what is left over is the name's, which is worth more than a longer graph.
            left -= self._grow("TARGET", min((left - _GRAPH_LEAST) // 2, _NAME_MOST))
        self.graph = max(min(left, _GRAPH_MOST), _GRAPH_LEAST)

    def _grow(self, name: str, more: int) -> int:
        self.widths[name] += max(more, 0)
        return max(more, 0)

    def header(self, sort: str) -> str:
        """The line of headings; the sorted column's has a star."""
        keys = [f"{name:<{self.widths[name]}}" for name in self.headings]
        numbers = [f"{('*' if name == sort else '') + name:>{width}}" for name, width in _NUMBERS.items()]
        return " ".join([*keys, *numbers, "LAST MIN"[: self.graph]])

    def line(self, row: Row, ascii_only: bool = False) -> str:
        """A row."""
        return " ".join([*self._keys(row), numbers_of(row), sparkline(row.graph, self.graph, ascii_only)])

    def total(self, row: Row, ascii_only: bool = False) -> str:
        """The line of totals."""
        width = sum(self.widths[name] + 1 for name in self.headings) - 1
        return f"{'total':<{width}} {numbers_of(row)} {sparkline(row.graph, self.graph, ascii_only)}"

    def _keys(self, row: Row) -> list[str]:
        """The first cells: names keep their end, a LUN that names no unit borrows from them and keeps its beginning."""
        texts = {name: _key_text(name, value) for name, value in zip(self.headings, row.key, strict=True)}
        if row.faulty and "LUN" in texts:
            texts["LUN"] += "!"
        widths = dict(self.widths)
        for name in _LENDS if "LUN" in texts else ():
            lent = min(len(texts["LUN"]) - widths["LUN"], widths.get(name, 0) - _LENDS[name])
            if lent > 0:
                widths[name] -= lent
                widths["LUN"] += lent
        return [
            fill(shorten(text, widths[name], "start" if name == "LUN" else "end"), widths[name])
            for name, text in texts.items()
        ]


def _key_text(name: str, value: str) -> str:
    if name == "LUN":
        return lun_text(int(value))
    return short_target(value) if name == "TARGET" else value


def numbers_of(row: Row) -> str:
    """The eight numbers of a row."""
    texts = [number(n) for n in (row.reads, row.writes, row.read_kb, row.write_kb)]
    texts += [duration(row.average), duration(row.p99)]
    texts += [number(row.in_flight, _NUMBERS["QD"]), number(row.errors, _NUMBERS["ERR"])]
    return " ".join(f"{text:>{width}}" for text, width in zip(texts, _NUMBERS.values(), strict=True))


def server_text(line: ServerLine, width: int = LINE, gone: str = "gone") -> str:
    """A header line: what is known of a server; a recording may have been told neither of sessions nor of CPU time."""
    sessions = "sessions -" if line.sessions is None else f"{line.sessions} session{'' if line.sessions == 1 else 's'}"
    cpu = "-" if line.cpu is None else f"{line.cpu:.0%}"
    text = f": {sessions}, CPU {cpu}, {line.drops} drops" if line.up else f": {gone}"
    return shorten(line.name, width - len(text)) + text


def sorted_rows(rows: list[Row], sort: str, reverse: bool) -> list[Row]:
    """The largest first; with ``reverse`` the smallest."""
    return sorted(rows, key=SORTS[sort], reverse=not reverse)


def batch_lines(model: TopModel, group: str, sort: str, width: int = LINE) -> list[str]:
    """One report of ``--batch``."""
    rows = sorted_rows(model.rows(group), sort, reverse=False)
    layout = Layout(group, width, rows)
    lines = [server_text(server, width) for server in model.servers()]
    lines.append(layout.header(sort).rstrip())
    lines += [layout.line(row, ascii_only=True).rstrip() for row in rows]
    return [*lines, layout.total(model.total(), ascii_only=True).rstrip()]
