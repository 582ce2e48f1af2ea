"""What ``top``'s screen is made of beside urwid's own widgets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import urwid


class Line(urwid.Text):
    """A row that can have the focus, so that the list scrolls."""

    _selectable = True

    def __init__(self, text: str) -> None:
        super().__init__(text, wrap="clip")

    def keypress(self, size: Any, key: str) -> str | None:
        """No key is this row's own."""
        return key


class Edit(urwid.Edit):
    """A question; ``done`` gets the answer, empty when it was left."""

    def __init__(self, question: str, done: Callable[[str], None]) -> None:
        super().__init__(question)
        self._done = done

    def keypress(self, size: Any, key: str) -> str | None:
        """Enter answers, escape leaves."""
        if key in ("enter", "esc"):
            self._done(self.edit_text if key == "enter" else "")
            return None
        return super().keypress(size, key)
