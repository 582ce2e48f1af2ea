"""Which stretches of several threads' work fell together, on a machine that has other work too.

Each thread notes stretches of equal work: when one began and ended, how much processor time it took, whether it gave
its processor up (for a lock) or was made to; the next begins where the last one ended. A stretch was *undisturbed* when
nobody took the processor and it used it all the time but for such waits. It was beside the others when they were
undisturbed all the while. What threads lose to each other shows in these only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

_DISTURBED: Final = 32
"""One part of so many is missing: the thread had not its processor for all the time."""


class Stretch(NamedTuple):
    """In nanoseconds."""

    begin: int
    end: int
    cpu: int
    waits: int = 0
    """How often it gave its processor up."""
    preempted: int = 0
    """How often it was made to."""

    @property
    def undisturbed(self) -> bool:
        """Whether the thread had a processor whenever it wanted one, as far as that can be seen."""
        missing = self.end - self.begin - self.cpu
        return not self.preempted and (self.waits > 0 or missing * _DISTURBED < self.end - self.begin)


def spans(stretches: Sequence[Stretch]) -> list[tuple[int, int]]:
    """When a thread was undisturbed: begin and end of each row of such stretches."""
    found: list[tuple[int, int]] = []
    for stretch in stretches:
        if not stretch.undisturbed:
            continue
        if found and found[-1][1] == stretch.begin:
            found[-1] = (found[-1][0], stretch.end)
        else:
            found.append((stretch.begin, stretch.end))
    return found


def within(stretches: Sequence[Stretch], times: Sequence[tuple[int, int]]) -> list[Stretch]:
    """Those that lie in one of the times; both in order."""
    found = []
    at = 0
    for stretch in stretches:
        while at < len(times) and times[at][1] < stretch.end:
            at += 1
        if at < len(times) and times[at][0] <= stretch.begin:
            found.append(stretch)
    return found


def together(threads: Sequence[Sequence[Stretch]]) -> list[int]:
    """The processor time of each undisturbed stretch that was beside undisturbed ones of all other threads."""
    times = [spans(stretches) for stretches in threads]
    found: list[int] = []
    for number, stretches in enumerate(threads):
        left = [stretch for stretch in stretches if stretch.undisturbed]
        for other, others in enumerate(times):
            if other != number:
                left = within(left, others)
        found += [stretch.cpu for stretch in left]
    return found
