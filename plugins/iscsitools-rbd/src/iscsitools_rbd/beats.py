"""Which heads live, by the beats that they leave in the shared object, and so whether the disk is free to be taken."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from iscsitools_rbd.shared import State

GONE: Final = "gone"
"""The beat of a head that has left."""
_TURN: Final = 3.0
"""Seconds that a head leaves to each one before it that could take over, too."""


class Beats:
    """What head ``own`` has seen of the others, by its own clock."""

    def __init__(self, own: int, takeover: float) -> None:
        self._own = own
        self._takeover = takeover
        self._seen: dict[int, tuple[str, float]] = {}
        self._heard = time.monotonic()
        self._free_since = 0.0

    def __iter__(self) -> Iterator[int]:
        """The numbers of all that were ever seen."""
        return iter(self._seen)

    def take_in(self, state: State) -> None:
        """Ceph has answered: note which beats are others than before."""
        now = self._heard = time.monotonic()
        for number, beat in state.beats.items():
            if beat == GONE:
                self._seen[number] = (beat, 0.0)
            elif self._seen.get(number, ("", 0.0))[0] != beat:
                self._seen[number] = (beat, now)

    @property
    def silence(self) -> float:
        """Seconds since Ceph has answered."""
        return time.monotonic() - self._heard

    def lives(self, number: int) -> bool:
        """Whether a head's last beat is not too old."""
        return number in self._seen and time.monotonic() - self._seen[number][1] <= self._takeover

    def is_free(self, state: State) -> bool:
        """Whether to take over: nobody is active, or who is does not live. Lower numbers that live go first."""
        if state.active == self._own:
            return True
        if state.active and self.lives(state.active):
            self._free_since = 0.0
            return False
        now = time.monotonic()
        self._free_since = self._free_since or now
        before = sum(self.lives(number) for number in self._seen if number < self._own)
        return now - self._free_since >= before * _TURN
