"""The lines of ``top``: for its screen, and plain for ``--batch``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from iscsitools.probes.lun import lun_text
from iscsitools.trace.views.top.columns import COLUMNS, SHARE, SHARES, VIEWS, heading, sort_value
from iscsitools.trace.views.top.model import GROUPS, Row, ServerLine, TopModel
from iscsitools.trace.views.top.saved import Look
from iscsitools.trace.views.width import LINE, columns_of, fill, shorten

_KEY_WIDTHS: Final = {"CLIENT": 15, "TARGET": 8, "LUN": 3, "SERVER": 15, "SESSION": 15}
_LENDS: Final = {"TARGET": 4, "CLIENT": 8}
"""Who gives room to a LUN that needs more than its column, in this order, and what each keeps."""
_GRAPH_LEAST: Final = 4
_GRAPH_MOST: Final = 60
_NAME_MOST: Final = 40
"""How much wider than its least width the target's column gets."""
_BARS: Final = " ▁▂▃▄▅▆▇█"
_ASCII_BARS: Final = " .:-=+*#@"


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
    """Which columns there are on a screen of ``width``, and how wide they are, for ``rows``.

    The client's or server's name takes what it needs of what is left over, the target's name and the graph the rest.
    On a narrow screen there are as many of the view's numbers as fit, from ``first`` on.
    """

    def __init__(
        self,
        group: str,
        width: int,
        rows: Iterable[Row] = (),
        view: str = "load",
        first: int = 0,
        percentile: str = SHARE,
    ) -> None:
        """``view``: of VIEWS; ``percentile``: of SHARES."""
        self._percentile = percentile
        self.headings = GROUPS[group][0]
        self.widths = {name: _KEY_WIDTHS[name] for name in self.headings}
        left = width - sum(self.widths[name] + 1 for name in self.headings)
        self.numbers = _fitting(VIEWS[view], first, left - _GRAPH_LEAST)
        left -= sum(COLUMNS[name].width + 1 for name in self.numbers)
        if (key := self.headings[0]) != "TARGET":
            longest = max((columns_of(row.key[0]) for row in rows), default=0)
            left -= self._grow(key, min(longest - self.widths[key], left - _GRAPH_LEAST))
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
        texts = {name: heading(name, self._percentile) for name in self.numbers}
        numbers = [f"{('*' if name == sort else '') + text:>{COLUMNS[name].width}}" for name, text in texts.items()]
        return " ".join([*keys, *numbers, "LAST MIN"[: self.graph]])

    def line(self, row: Row, ascii_only: bool = False) -> str:
        """A row."""
        return " ".join([*self._keys(row), self._numbers(row), sparkline(row.graph, self.graph, ascii_only)])

    def total(self, row: Row, ascii_only: bool = False) -> str:
        """The line of totals."""
        width = sum(self.widths[name] + 1 for name in self.headings) - 1
        return f"{'total':<{width}} {self._numbers(row)} {sparkline(row.graph, self.graph, ascii_only)}"

    def _numbers(self, row: Row) -> str:
        cells = []
        for name in self.numbers:
            width, value, text = COLUMNS[name]
            cells.append(f"{text(value(row, SHARES[self._percentile]), width):>{width}}")
        return " ".join(cells)

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
        return lun_text(int(value)) if value else ""  # a part of a row that was opened has none
    return short_target(value) if name == "TARGET" else value


def _fitting(names: Sequence[str], first: int, room: int) -> list[str]:
    """As many columns as fit, one at least, from ``first`` on, or further back where there are no more behind."""
    for begin in range(min(first, len(names) - 1) + 1):
        if sum(COLUMNS[name].width + 1 for name in names[begin:]) <= room:
            return list(names[begin:])
    shown: list[str] = []
    for name in names[min(first, len(names) - 1) :]:
        room -= COLUMNS[name].width + 1
        if room < 0 and shown:
            break
        shown.append(name)
    return shown


def server_text(line: ServerLine, width: int = LINE, gone: str = "gone") -> str:
    """A header line: what is known of a server; a recording may have been told neither of sessions nor of CPU time."""
    sessions = "sessions -" if line.sessions is None else f"{line.sessions} session{'' if line.sessions == 1 else 's'}"
    cpu = "-" if line.cpu is None else f"{line.cpu:.0%}"
    text = f": {sessions}, CPU {cpu}, {line.drops} drops" if line.up else f": {gone}"
    return shorten(line.name, width - len(text)) + text


def sorted_rows(rows: list[Row], sort: str, reverse: bool, percentile: str = SHARE) -> list[Row]:
    """The largest first; with ``reverse`` the smallest. ``sort``: a column's name, or ALL."""
    return sorted(rows, key=sort_value(sort, SHARES[percentile]), reverse=not reverse)


def batch_lines(
    model: TopModel,
    group: str,
    sort: str,
    width: int = LINE,
    look: Look = Look(),  # noqa: B008
) -> list[str]:
    """One report of ``--batch``; of ``look`` the view, the order, the percentile and the filter count."""
    rows = sorted_rows(model.rows(group, look.filter), sort, look.reverse, look.percentile)
    layout = Layout(group, width, rows, look.view, percentile=look.percentile)
    lines = [server_text(server, width) for server in model.servers()]
    lines.append(layout.header(sort).rstrip())
    lines += [layout.line(row, ascii_only=True).rstrip() for row in rows]
    return [*lines, layout.total(model.total(look.filter), ascii_only=True).rstrip()]
