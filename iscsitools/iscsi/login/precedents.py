"""What negotiations have come to, by all that was said in them: each initiator says the same in each of its logins."""

from __future__ import annotations

from typing import Any, Final

MOST: Final = 64
"""Texts whose outcome is kept, of all initiators; one more takes the place of the oldest."""
LONGEST: Final = 2048
"""Characters of what was said in one, by the names and values of its keys; nobody's usual keys are longer."""

Said = tuple[object, ...]
"""Which kind of session and connection it is, and for each text the stage that it came in and its pairs."""
Outcome = tuple[tuple[tuple[str, str], ...], dict[str, str], frozenset[str], tuple[Any, ...]]
"""Our answers to the last text; and since the beginning: what was declared, which keys were negotiated, and values of
the parameters."""


class Precedents:
    """Outcomes of the negotiations under one set of limits. An error is none: it is found anew each time."""

    __slots__ = ("_outcomes",)

    def __init__(self) -> None:
        self._outcomes: dict[Said, Outcome] = {}

    def __len__(self) -> int:
        return len(self._outcomes)

    def find(self, said: Said) -> Outcome | None:
        """What has come of exactly this."""
        return self._outcomes.get(said)

    def keep(self, said: Said, outcome: Outcome) -> None:
        """Remember what came of it, if it is short."""
        if sum(len(text) for part in said if isinstance(part, tuple) for text in part) > LONGEST:
            return
        if len(self._outcomes) >= MOST:
            del self._outcomes[next(iter(self._outcomes))]
        self._outcomes[said] = outcome
