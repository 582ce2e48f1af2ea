"""The live screen of ``top``, by urwid: it draws, reads keys, and follows the terminal's size."""

from __future__ import annotations

import codecs
import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

import urwid

from iscsitools.trace.views.top.model import GROUPS, SORTS, Sample, TopModel
from iscsitools.trace.views.top.text import Layout, server_text, sorted_rows
from iscsitools.trace.views.width import shorten

Samples = list[tuple[str, Sample | None]]

INTERVALS: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_PALETTE: Final = [
    ("heading", "standout", ""),
    ("total", "bold", ""),
    ("gone", "light red", ""),
    ("errors", "light red", ""),
    ("keys", "dark cyan", ""),
]
_KEYS: Final = "q quit  s sort  r reverse  g group  / filter  p pause  +/- interval  h help"
_HELP: Final = """\
 q            quit
 s  or  >     sort by the next column      S  or  <   by the one before
 r            reverse the order
 g            next grouping: client, target and LUN; client; target; ...
 /            filter: rows whose server, client, target or LUN has the text
              Enter keeps it, Esc clears it
 p  or space  pause, and go on
 +  and  -    longer and shorter interval
 arrows, PgUp, PgDn   scroll

 R/s W/s      SCSI commands per second that read, that write
 RKB/s WKB/s  data in and data out, in units of 1024 bytes
 AVG P99      latency of the commands that ended in the interval
 QD           commands under way     ERR  failed commands since the start
 LAST MIN     commands per second over the last minute, each row by its own
              highest"""
_HELP_TITLE: Final = "arrows scroll, any other key closes"
_UTF8: Final = ("utf8", "utf-8")
_SCROLLS: Final = frozenset({"up", "down", "page up", "page down", "home", "end"})


class Sampler(threading.Thread):
    """Takes samples in the background, so that a server that does not answer does not stop the screen."""

    def __init__(self, take: Callable[[], Samples], interval: float, wake: Callable[[], None]) -> None:
        super().__init__(daemon=True, name="sampler")
        self.interval = interval
        self.results: queue.SimpleQueue[Samples] = queue.SimpleQueue()
        self._take = take
        self._wake = wake
        self._again = threading.Event()
        self._ended = False

    def run(self) -> None:
        """Sample until :meth:`end`."""
        while not self._ended:
            self._again.wait(self.interval)
            self._again.clear()
            if not self._ended:
                self.results.put(self._take())
                self._wake()

    def change(self, interval: float) -> None:
        """Take the next sample now, and then one per ``interval`` seconds."""
        self.interval = interval
        self._again.set()

    def end(self) -> None:
        """Take no more samples."""
        self._ended = True
        self._again.set()


class TopScreen:
    """Owns the terminal from :meth:`run` until the user quits."""

    def __init__(self, take: Callable[[], Samples], interval: float) -> None:
        if codecs.lookup(sys.stdout.encoding).name != "utf-8":
            # urwid goes by the locale and writes to stdout, which PYTHONIOENCODING may have given another encoding
            urwid.set_encoding("ascii")
        self._model = TopModel()
        self._group = next(iter(GROUPS))
        self._sort = "ALL/s"
        self._reverse = False
        self._filter = ""
        self._paused = False
        self._top = urwid.Text("", wrap="clip")
        self._list: urwid.SimpleFocusListWalker[Any] = urwid.SimpleFocusListWalker([])
        self._keys = urwid.AttrMap(urwid.Text(_KEYS, wrap="clip"), "keys")
        self._edit = _FilterEdit(self._filtered)
        self._frame: Any = urwid.Frame(urwid.ListBox(self._list), header=self._top, footer=self._keys)
        self._loop = urwid.MainLoop(
            self._frame, _PALETTE, input_filter=self._see_keys, unhandled_input=self._key, handle_mouse=False
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
        elif self._loop.widget is not self._frame and not _SCROLLS.issuperset(keys):
            self._loop.widget = self._frame
            return []
        return keys

    def _key(self, key: str | tuple[str, int, int, int]) -> None:
        action = {
            "q": self._quit, "Q": self._quit, "s": self._next_sort, ">": self._next_sort, "S": self._last_sort,
            "<": self._last_sort, "r": self._turn, "g": self._next_group, "/": self._begin_filter,
            "esc": self._clear_filter, "p": self._pause, " ": self._pause, "+": self._slower, "=": self._slower,
            "-": self._faster, "h": self._help, "?": self._help,
        }.get(key if isinstance(key, str) else "")  # fmt: skip
        if action is not None:
            action()
            self._draw()

    def _quit(self) -> None:
        raise urwid.ExitMainLoop

    def _next_sort(self) -> None:
        self._sort = _after(self._sort, list(SORTS), 1)

    def _last_sort(self) -> None:
        self._sort = _after(self._sort, list(SORTS), -1)

    def _turn(self) -> None:
        self._reverse = not self._reverse

    def _next_group(self) -> None:
        self._group = _after(self._group, list(GROUPS), 1)

    def _pause(self) -> None:
        self._paused = not self._paused
        if not self._paused:
            self._take_results()

    def _slower(self) -> None:
        self._sampler.change(min((i for i in INTERVALS if i > self._sampler.interval), default=INTERVALS[-1]))

    def _faster(self) -> None:
        self._sampler.change(max((i for i in INTERVALS if i < self._sampler.interval), default=INTERVALS[0]))

    def _help(self) -> None:
        lines = urwid.ListBox(urwid.SimpleListWalker([urwid.Text(line) for line in _HELP.splitlines()]))
        box = urwid.LineBox(lines, title=_HELP_TITLE)
        self._loop.widget = urwid.Overlay(box, self._frame, "center", 78, "middle", 24)

    def _begin_filter(self) -> None:
        self._edit.set_edit_text(self._filter)
        self._edit.set_edit_pos(len(self._filter))
        self._frame.footer = self._edit
        self._frame.focus_position = "footer"

    def _filtered(self, text: str) -> None:
        self._filter = text
        self._frame.footer = self._keys
        self._frame.focus_position = "body"
        self._draw()

    def _clear_filter(self) -> None:
        self._filter = ""

    def _draw(self) -> None:
        width = self._loop.screen.get_cols_rows()[0]
        ascii_only = urwid.util.get_encoding() not in _UTF8
        rows = sorted_rows(self._model.rows(self._group, self._filter), self._sort, self._reverse)
        layout = Layout(self._group, width, rows)
        self._top.set_text(self._header(layout, width, ascii_only))
        lines = [(layout.line(row, ascii_only), "errors" if row.counters.errors else None) for row in rows]
        focus = (self._list.focus or 0) if self._list else 0
        self._list[:] = [urwid.AttrMap(_Line(text), attribute) for text, attribute in lines]
        if self._list:
            self._list.set_focus(min(focus, len(self._list) - 1))

    def _header(self, layout: Layout, width: int, ascii_only: bool) -> list[Any]:
        """The servers, the state of the screen, the headings, the totals."""
        markup: list[Any] = []
        for server in self._model.servers():
            text = server_text(server, width, gone="gone, waiting for it to come back")
            markup += [(None if server.up else "gone", text), "\n"]
        state = [f"every {self._sampler.interval:g} s", f"by {self._group}", f"sorted by {self._sort}"]
        state += ["PAUSED"] if self._paused else []
        state += [f"only {self._filter!r}"] if self._filter else []
        total = layout.total(self._model.total(self._filter), ascii_only)
        state_line = shorten(", ".join(state), width, keep="start")
        return [*markup, state_line, "\n", ("heading", layout.header(self._sort)), "\n", ("total", total)]


class _Line(urwid.Text):
    """A row that can have the focus, so that the list scrolls."""

    _selectable = True

    def __init__(self, text: str) -> None:
        super().__init__(text, wrap="clip")

    def keypress(self, size: Any, key: str) -> str | None:
        """No key is this row's own."""
        return key


class _FilterEdit(urwid.Edit):
    def __init__(self, done: Callable[[str], None]) -> None:
        super().__init__("Filter: ")
        self._done = done

    def keypress(self, size: Any, key: str) -> str | None:
        if key in ("enter", "esc"):
            self._done(self.edit_text if key == "enter" else "")
            return None
        return super().keypress(size, key)


def _after(item: str, items: list[str], step: int) -> str:
    return items[(items.index(item) + step) % len(items)]
