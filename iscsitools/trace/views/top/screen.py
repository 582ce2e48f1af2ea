"""The live screen of ``top``, by urwid: it draws, reads keys, and follows the terminal's size."""

from __future__ import annotations

import codecs
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import urwid

from iscsitools.trace.views.clock import Times, day
from iscsitools.trace.views.top.columns import ALL, SHARES, VIEWS, heading
from iscsitools.trace.views.top.heat_box import HeatBox
from iscsitools.trace.views.top.help_text import HELP, KEYS, PALETTE
from iscsitools.trace.views.top.model import GROUPS, Row, TopModel
from iscsitools.trace.views.top.sampler import Sampler, Samples
from iscsitools.trace.views.top.saved import Look, SavedError, save_look
from iscsitools.trace.views.top.text import Layout, server_text, sorted_rows
from iscsitools.trace.views.top.widgets import Edit, Line
from iscsitools.trace.views.width import shorten

INTERVALS: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_HELP_TITLE: Final = "arrows scroll, any other key closes"
_PART: Final = "  "
"""What stands before a part of a row that was opened."""
_UTF8: Final = ("utf8", "utf-8")
_SCROLLS: Final = frozenset({"up", "down", "page up", "page down", "home", "end"})


class TopScreen:
    """Owns the terminal from :meth:`run` until the user quits."""

    def __init__(
        self, take: Callable[[], Samples], interval: float, look: Look | None = None, times: Times = Times.LOCAL,
        want_phases: Callable[[bool], object] = bool,
    ) -> None:  # fmt: skip
        """``want_phases`` is told when the view that shows them begins and ends."""
        if codecs.lookup(sys.stdout.encoding).name != "utf-8":
            # urwid goes by the locale and writes to stdout, which PYTHONIOENCODING may have given another encoding
            urwid.set_encoding("ascii")
        self._model = TopModel()
        self._look = look or Look()
        self._times = times
        self._want_phases = want_phases
        self._began = time.time()
        self._first = 0
        self._note = ""
        self._paused = False
        self._rows: list[Row] = []
        self._opened: set[tuple[str, ...]] = set()
        self._top = urwid.Text("", wrap="clip")
        self._list: urwid.SimpleFocusListWalker[Any] = urwid.SimpleFocusListWalker([])
        self._keys = urwid.AttrMap(urwid.Text(KEYS, wrap="clip"), "keys")
        self._filter_edit = Edit("Filter: ", self._filtered)
        self._name_edit = Edit("Save this view as: ", self._named)
        self._heat: HeatBox | None = None
        self._frame: Any = urwid.Frame(urwid.ListBox(self._list), header=self._top, footer=self._keys)
        self._loop = urwid.MainLoop(
            self._frame, PALETTE, input_filter=self._see_keys, unhandled_input=self._key, handle_mouse=False
        )
        self._pipe = self._loop.watch_pipe(self._arrived)
        self._sampler = Sampler(take, interval, self._wake)

    def run(self) -> None:
        """Show the screen; returns when the user quits."""
        self._sampler.start()
        self._draw()
        try:
            self._loop.run()
        finally:
            self._sampler.end()

    def _wake(self) -> None:
        os.write(self._pipe, b"x")

    def _arrived(self, data: bytes) -> None:
        if not self._paused:
            self._take_results()
            self._draw()

    def _take_results(self) -> None:
        while not self._sampler.results.empty():
            for name, sample in self._sampler.results.get():
                self._model.update(name, sample)

    def _see_keys(self, keys: list[Any], raw: list[int]) -> list[Any]:
        """Sees every key first: a resize draws anew, a key that does not scroll it closes the help."""
        if "window resize" in keys:
            self._draw()
        pressed = set(keys) - {"window resize"}  # both may come at once
        if self._heat is not None:
            actions = {"left": self._heat.earlier, "right": self._heat.later, "p": self._pause, " ": self._pause}
            if pressed and pressed <= actions.keys():
                for key in keys:
                    if key in actions:
                        actions[key]()
                self._draw()
                return []
        if self._loop.widget is not self._frame and not _SCROLLS.issuperset(pressed):
            self._loop.widget = self._frame
            self._heat = None
            return []
        return keys

    def _key(self, key: str | tuple[str, int, int, int]) -> None:
        action = {
            "q": self._quit, "Q": self._quit, "s": self._next_sort, ">": self._next_sort, "S": self._last_sort,
            "<": self._last_sort, "r": self._turn, "g": self._next_group, "/": self._begin_filter,
            "v": self._next_view, "left": self._left, "right": self._right, "[": self._lower, "]": self._higher,
            "o": self._open_or_close, "O": self._close_all,
            "enter": self._show_heat, "m": self._show_heat, "w": self._begin_name,
            "esc": self._clear_filter, "p": self._pause, " ": self._pause, "+": self._slower, "=": self._slower,
            "-": self._faster, "h": self._help, "?": self._help,
        }.get(key if isinstance(key, str) else "")  # fmt: skip
        if action is not None:
            action()
            self._draw()

    def _quit(self) -> None:
        raise urwid.ExitMainLoop

    def _choose(self, **changes: Any) -> None:
        self._look = dataclasses.replace(self._look, **changes)

    def _sorts(self) -> list[str]:
        return [*VIEWS[self._look.view], ALL]

    def _next_view(self) -> None:
        self._choose(view=_after(self._look.view, list(VIEWS), 1))
        self._want_phases(self._look.view == "phases")
        self._first = 0
        if self._look.sort not in self._sorts():
            self._choose(sort=ALL)

    def _left(self) -> None:
        self._first = max(self._first - 1, 0)

    def _right(self) -> None:
        self._first = min(self._first + 1, len(VIEWS[self._look.view]) - 1)

    def _lower(self) -> None:
        self._step_percentile(-1)

    def _higher(self) -> None:
        self._step_percentile(1)

    def _step_percentile(self, step: int) -> None:
        names = list(SHARES)
        place = names.index(self._look.percentile) + step
        self._choose(percentile=names[max(0, min(place, len(names) - 1))])

    def _next_sort(self) -> None:
        self._choose(sort=_after(self._look.sort, self._sorts(), 1))

    def _last_sort(self) -> None:
        self._choose(sort=_after(self._look.sort, self._sorts(), -1))

    def _turn(self) -> None:
        self._choose(reverse=not self._look.reverse)

    def _open_or_close(self) -> None:
        """Show what the selected row is made of below it, or no longer; from one of those, close the row above them."""
        place = min(self._list.focus or 0, len(self._rows) - 1)
        while place > 0 and self._rows[place].key[0].startswith(_PART):
            place -= 1
        if self._rows:
            self._opened ^= {self._rows[place].key}
            self._list.set_focus(place)

    def _close_all(self) -> None:
        self._opened.clear()

    def _with_parts(self, rows: list[Row]) -> list[Row]:
        """The rows, each that is open with its parts behind it."""
        look, shown = self._look, []
        for row in rows:
            shown.append(row)
            if row.key in self._opened:
                parts = self._model.parts(look.group, row.key, look.filter)
                for part in sorted_rows(parts, look.sort, look.reverse, look.percentile):
                    shown.append(dataclasses.replace(part, key=(_PART + part.key[0], *part.key[1:])))
        return shown

    def _next_group(self) -> None:
        self._opened.clear()
        self._choose(group=_after(self._look.group, list(GROUPS), 1))

    def _pause(self) -> None:
        """Stand still, or go on."""
        self._paused = not self._paused
        if not self._paused:
            self._take_results()

    def _slower(self) -> None:
        self._sampler.change(min((i for i in INTERVALS if i > self._sampler.interval), default=INTERVALS[-1]))

    def _faster(self) -> None:
        self._sampler.change(max((i for i in INTERVALS if i < self._sampler.interval), default=INTERVALS[0]))

    def _help(self) -> None:
        lines = urwid.ListBox(urwid.SimpleListWalker([urwid.Text(line) for line in HELP.splitlines()]))
        box = urwid.LineBox(lines, title=_HELP_TITLE)
        self._loop.widget = urwid.Overlay(box, self._frame, "center", 78, "middle", 24)

    def _begin_filter(self) -> None:
        self._ask(self._filter_edit, self._look.filter)

    def _begin_name(self) -> None:
        self._ask(self._name_edit, "")

    def _ask(self, edit: Edit, text: str) -> None:
        edit.set_edit_text(text)
        edit.set_edit_pos(len(text))
        self._frame.footer = edit
        self._frame.focus_position = "footer"

    def _answered(self) -> None:
        self._frame.footer = self._keys
        self._frame.focus_position = "body"
        self._draw()

    def _filtered(self, text: str) -> None:
        self._choose(filter=text)
        self._answered()

    def _named(self, name: str) -> None:
        if name:
            try:
                save_look(name, self._look)
                self._note = f"saved as {name!r}"
            except SavedError as error:
                self._note = str(error)
        self._answered()

    def _clear_filter(self) -> None:
        self._choose(filter="")

    def _show_heat(self) -> None:
        if not self._rows:
            return
        row = self._rows[min(self._list.focus or 0, len(self._rows) - 1)]
        if row.key[0].startswith(_PART):
            return  # a heat map is of a whole row
        self._heat = HeatBox(row.key, partial(self._history, row.key), self._frame)
        self._loop.widget = self._heat.widget

    def _history(self, key: tuple[str, ...], back: int, cells: int) -> Sequence[Mapping[int, int]]:
        return self._model.history(self._look.group, key, self._look.filter, back, cells)

    def _draw(self) -> None:
        width = self._loop.screen.get_cols_rows()[0]
        ascii_only = urwid.util.get_encoding() not in _UTF8
        look = self._look
        rows = self._model.rows(look.group, look.filter)
        rows = self._rows = self._with_parts(sorted_rows(rows, look.sort, look.reverse, look.percentile))
        layout = Layout(look.group, width, rows, look.view, self._first, look.percentile)
        self._top.set_text(self._header(layout, width, ascii_only))
        lines = [(layout.line(row, ascii_only), "errors" if row.counters.errors else None) for row in rows]
        focus = (self._list.focus or 0) if self._list else 0
        self._list[:] = [urwid.AttrMap(Line(text), attribute) for text, attribute in lines]
        if self._list:
            self._list.set_focus(min(focus, len(self._list) - 1))
        if self._heat is not None:
            self._heat.draw(width, self._paused)

    def _now(self) -> str:
        now = time.time()
        if self._times is Times.RELATIVE:
            return f"after {now - self._began:.0f} s"
        return day(int(now * 1e9), self._times).strftime("%H:%M:%S" + ("Z" if self._times is Times.UTC else ""))

    def _header(self, layout: Layout, width: int, ascii_only: bool) -> list[Any]:
        """The servers, the state of the screen, the headings, the totals."""
        markup: list[Any] = []
        for server in self._model.servers():
            text = server_text(server, width, gone="gone, waiting for it to come back")
            markup += [(None if server.up else "gone", text), "\n"]
        look = self._look
        state = [self._now(), f"every {self._sampler.interval:g} s", f"by {look.group}"]
        state += [f"sorted by {heading(look.sort, look.percentile)}"]
        state += ["PAUSED"] if self._paused else []
        state += [f"only {look.filter!r}"] if look.filter else []
        state += [self._note] if self._note else []
        self._note = ""
        total = layout.total(self._model.total(look.filter), ascii_only)
        state_line = shorten(", ".join(state), width, keep="start")
        return [*markup, state_line, "\n", ("heading", layout.header(look.sort)), "\n", ("total", total)]


def _after(item: str, items: list[str], step: int) -> str:
    return items[(items.index(item) + step) % len(items)]
