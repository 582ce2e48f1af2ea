"""The lines of ``top``: for its screen, and plain for ``--batch``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from iscsitools.trace.views.report import lun_text
from iscsitools.trace.views.top.model import GROUPS, SORTS, Row, ServerLine, TopModel

_KEY_WIDTHS: Final = {"CLIENT": 15, "TARGET": 8, "LUN": 3, "SERVER": 15}
_NUMBERS: Final = (("R/s", 5), ("W/s", 5), ("RKB/s", 6), ("WKB/s", 6), ("AVG", 5), ("P99", 5), ("QD", 3), ("ERR", 4))
_NUMBERS_WIDTH: Final = sum(width + 1 for _, width in _NUMBERS)
_GRAPH_LEAST: Final = 4
_GRAPH_MOST: Final = 60
_NAME_MOST: Final = 40
"""How much wider than its least width the first name column gets."""
_BARS: Final = " ▁▂▃▄▅▆▇█"
_ASCII_BARS: Final = " .:-=+*#@"


def number(value: float) -> str:
    """A rate in at most five characters: ``99999``, ``123K``, ``1.2M``."""
    for unit in ("", "K", "M", "G"):
        if unit == "" and value < 99_999.5:
            return f"{value:.0f}"
        if unit and value < 9.95:
            return f"{value:.1f}{unit}"
        if unit and value < 999.5:
            return f"{value:.0f}{unit}"
        value /= 1000
    return f"{value:.0f}T"


def duration(nanoseconds: float) -> str:
    """A latency in at most five characters: ``87us``, ``1.2ms``, ``350ms``, ``2.1s``; ``-`` for none."""
    if not nanoseconds:
        return "-"
    for unit, size in (("us", 1e3), ("ms", 1e6), ("s", 1e9)):
        value = nanoseconds / size
        if value < 9.95:
            return f"{value:.1f}{unit}"
        if value < 999.5 or unit == "s":
            return f"{value:.0f}{unit}"
    raise AssertionError("unreachable")


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
    """How wide the columns are on a screen of ``width``; the graph and the target's name take what is left over."""

    def __init__(self, group: str, width: int) -> None:
        self.headings = GROUPS[group][0]
        left = width - _NUMBERS_WIDTH - sum(_KEY_WIDTHS[name] + 1 for name in self.headings)
        self.widths = dict(_KEY_WIDTHS)
        grows = "TARGET" if "TARGET" in self.headings else self.headings[0]
        # Half of what is left over is the name's, which is worth more than a longer graph.
        self.widths[grows] += min(max(left - _GRAPH_LEAST, 0) // 2, _NAME_MOST)
        left -= self.widths[grows] - _KEY_WIDTHS[grows]
        self.graph = max(min(left, _GRAPH_MOST), _GRAPH_LEAST)

    def header(self, sort: str) -> str:
        """The line of headings; the sorted column's has a star."""
        keys = [f"{name:<{self.widths[name]}}" for name in self.headings]
        numbers = [f"{('*' if name == sort else '') + name:>{width}}" for name, width in _NUMBERS]
        return " ".join([*keys, *numbers, "LAST MIN"[: self.graph]])

    def line(self, row: Row, ascii_only: bool = False) -> str:
        """A row. A client's address is never cut: a long one widens its row."""
        keys = [self._key(name, value) for name, value in zip(self.headings, row.key, strict=True)]
        return " ".join([*keys, numbers_of(row), sparkline(row.graph, self.graph, ascii_only)])

    def total(self, row: Row, ascii_only: bool = False) -> str:
        """The line of totals."""
        width = sum(self.widths[name] + 1 for name in self.headings) - 1
        return f"{'total':<{width}} {numbers_of(row)} {sparkline(row.graph, self.graph, ascii_only)}"

    def _key(self, name: str, value: str) -> str:
        width = self.widths[name]
        if name == "LUN":
            return f"{lun_text(int(value)):<{width}}"
        if name == "TARGET":
            value = short_target(value)
            # the end of a name differs more often than its beginning
            return f"{value if len(value) <= width else '…' + value[1 - width :]:<{width}}"
        return f"{value:<{width}}"


def numbers_of(row: Row) -> str:
    """The eight numbers of a row."""
    texts = [number(n) for n in (row.reads, row.writes, row.read_kb, row.write_kb)]
    texts += [duration(row.average), duration(row.p99), number(row.in_flight), number(row.errors)]
    return " ".join(f"{text:>{width}}" for text, (_, width) in zip(texts, _NUMBERS, strict=True))


def server_text(line: ServerLine) -> str:
    """A header line: what is known of a server. A recording knows no sessions and no CPU time."""
    if not line.up:
        return f"{line.name}: gone"
    sessions = "sessions -" if line.sessions is None else f"{line.sessions} session{'' if line.sessions == 1 else 's'}"
    cpu = "-" if line.cpu is None else f"{line.cpu:.0%}"
    return f"{line.name}: {sessions}, CPU {cpu}, {line.drops} drops"


def sorted_rows(rows: list[Row], sort: str, reverse: bool) -> list[Row]:
    """The largest first; with ``reverse`` the smallest."""
    return sorted(rows, key=SORTS[sort], reverse=not reverse)


def batch_lines(model: TopModel, group: str, sort: str, width: int = 80) -> list[str]:
    """One report of ``--batch``."""
    layout = Layout(group, width)
    rows = sorted_rows(model.rows(group), sort, reverse=False)
    lines = [server_text(server) for server in model.servers()]
    lines.append(layout.header(sort).rstrip())
    lines += [layout.line(row, ascii_only=True).rstrip() for row in rows]
    return [*lines, layout.total(model.total(), ascii_only=True).rstrip()]
