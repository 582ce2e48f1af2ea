"""What a task management function ends (RFC 7143 11.5.1, SAM-5 7), in the sums: commands that get no status."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from iscsitools.trace.sums.counters import ConnectionCells

MAX_FUNCTIONS: Final = 256
"""Unanswered task management functions kept per connection."""
_ABORT_TASK: Final = 1
_ABORT_TASK_SET: Final = 2
_CLEAR_TASK_SET: Final = 4
_LOGICAL_UNIT_RESET: Final = 5
_TARGET_RESETS: Final = frozenset({6, 7})


def asked(state: ConnectionCells, itt: int, function: int, lun: int, referenced: int) -> None:
    """Keep a function until it is answered. ``referenced``: the Referenced Task Tag."""
    if len(state.functions) >= MAX_FUNCTIONS:
        del state.functions[next(iter(state.functions))]
    state.functions[itt] = function, lun, referenced


def answered(connections: Iterable[ConnectionCells], asker: ConnectionCells, itt: int) -> None:
    """Forget the starts of the tasks that a function ended, which was answered "complete" on ``asker``."""
    function, lun, referenced = asker.functions.pop(itt, (0, 0, 0))
    if function == _ABORT_TASK:
        asker.starts.pop(referenced, None)
        return
    if function == _ABORT_TASK_SET:
        affected = [s for s in connections if _same_session(s, asker)]
    elif function in (_CLEAR_TASK_SET, _LOGICAL_UNIT_RESET, *_TARGET_RESETS):
        affected = [s for s in connections if s.info.target == asker.info.target]
    else:
        return
    every_lun = function in _TARGET_RESETS
    for state in affected:
        for tag in [tag for tag, (_, cell) in state.starts.items() if every_lun or cell.lun == lun]:
            del state.starts[tag]


def _same_session(one: ConnectionCells, other: ConnectionCells) -> bool:
    return (one.info.target, one.info.tsih) == (other.info.target, other.info.tsih)
