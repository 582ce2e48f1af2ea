"""What a task management function ends (RFC 7143 11.5.1, SAM-5 7), in the sums: commands that get no status."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from iscsitools.probes.subscribers import ConnectionInfo

MAX_FUNCTIONS: Final = 256
"""Unanswered task management functions kept per connection."""
_ABORT_TASK: Final = 1
_ABORT_TASK_SET: Final = 2
_CLEAR_TASK_SET: Final = 4
_LOGICAL_UNIT_RESET: Final = 5
_TARGET_RESETS: Final = frozenset({6, 7})


class Tasks(Protocol):
    """The commands of a connection that have begun."""

    @property
    def info(self) -> ConnectionInfo:
        """Whose they are."""

    @property
    def functions(self) -> dict[int, tuple[int, int, int]]:
        """Unanswered task management functions by ITT: function, LUN, Referenced Task Tag."""

    def forget(self, itt: int) -> object:
        """One gets no status."""

    def forget_all(self, lun: int | None) -> object:
        """None to a LUN, or to any, gets one."""


def asked(state: Tasks, itt: int, function: int, lun: int, referenced: int) -> None:
    """Keep a function until it is answered. ``referenced``: the Referenced Task Tag."""
    if len(state.functions) >= MAX_FUNCTIONS:
        del state.functions[next(iter(state.functions))]
    state.functions[itt] = function, lun, referenced


def answered(connections: Iterable[Tasks], asker: Tasks, itt: int) -> None:
    """Forget the starts of the tasks that a function ended, which was answered "complete" on ``asker``."""
    function, lun, referenced = asker.functions.pop(itt, (0, 0, 0))
    if function == _ABORT_TASK:
        asker.forget(referenced)
        return
    if function == _ABORT_TASK_SET:
        affected = [s for s in connections if _same_session(s, asker)]
    elif function in (_CLEAR_TASK_SET, _LOGICAL_UNIT_RESET, *_TARGET_RESETS):
        affected = [s for s in connections if s.info.target == asker.info.target]
    else:
        return
    for state in affected:
        state.forget_all(None if function in _TARGET_RESETS else lun)


def _same_session(one: Tasks, other: Tasks) -> bool:
    return (one.info.target, one.info.tsih) == (other.info.target, other.info.tsih)
