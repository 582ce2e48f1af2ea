"""The box of ``top``'s screen that shows a row's heat map, and scrolls it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import urwid

from iscsitools.trace.views.top.heat import LABEL, heat_lines
from iscsitools.trace.views.top.past import CELLS, KEPT
from iscsitools.trace.views.width import shorten

_STEP: Final = 15
"""Seconds that a key scrolls."""
_BORDER: Final = 2
_TITLE: Final = 66
"""Characters of the row's name at most."""


class HeatBox:
    """The heat map of one row. ``history``: the latencies of so many seconds, so many seconds ago."""

    def __init__(
        self, key: tuple[str, ...], history: Callable[[int, int], Sequence[Mapping[int, int]]], below: Any
    ) -> None:
        """``below``: the widget that it covers."""
        self._history = history
        self._back = 0
        self._text = urwid.Text("", wrap="clip")
        box = urwid.LineBox(urwid.ListBox(urwid.SimpleListWalker([self._text])), title=shorten(", ".join(key), _TITLE))
        self.widget = urwid.Overlay(box, below, "center", 72, "middle", 26)

    def earlier(self) -> None:
        """Scroll back."""
        self._back = min(self._back + _STEP, KEPT - CELLS)

    def later(self) -> None:
        """Scroll towards now."""
        self._back = max(self._back - _STEP, 0)

    def draw(self, width: int, paused: bool) -> None:
        """Show what there is by now, on a screen of that width."""
        cells = max(min(CELLS, width - _BORDER - LABEL), 1)
        markup: list[Any] = []
        for line in heat_lines(self._history(self._back, cells), self._back):
            markup += [(f"heat{heat}", text) for heat, text in line] + ["\n"]
        state = "PAUSED, p goes on" if paused else "p pauses"
        self._text.set_text([*markup, ("keys", f"left, right scroll, {state}")])
