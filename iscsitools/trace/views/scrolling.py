"""``rwlat --heatmap INTERVAL``: a column for each interval; the newest comes in at the right, the oldest goes out."""

from __future__ import annotations

from collections import deque

from iscsitools.trace.events import Event
from iscsitools.trace.views.command_tracker import CommandTracker
from iscsitools.trace.views.over_time import COMMAND_MASK, OPERATIONS
from iscsitools.trace.views.timegrid import Latencies


class ScrollView:
    """Latencies of all clients together, by operation, of the last intervals."""

    mask = COMMAND_MASK

    def __init__(self, columns: int) -> None:
        self._tracker = CommandTracker()
        self._columns = columns
        self.intervals: dict[str, deque[Latencies]] = {}
        """Oldest first, the one that goes on last; of operations that were seen."""

    def feed(self, event: Event) -> None:
        """Take an event."""
        for command in self._tracker.feed(event):
            if command.operation and not command.failed:
                if command.operation not in self.intervals:
                    before = max((len(each) for each in self.intervals.values()), default=1)
                    empty = (Latencies() for _ in range(before))
                    self.intervals[command.operation] = deque(empty, self._columns)
                self.intervals[command.operation][-1].add(command.latency)

    def closed(self, ident: int) -> None:
        """A connection is no more."""
        self._tracker.closed(ident)

    def clear(self) -> None:
        """Begin a new interval; commands that are under way stay known."""
        for columns in self.intervals.values():
            columns.append(Latencies())

    def shown(self) -> list[tuple[str, list[Latencies]]]:
        """The operations that ended in any interval that is shown, reads first."""
        found = ((operation, list(self.intervals.get(operation, ()))) for operation in OPERATIONS)
        return [(operation, columns) for operation, columns in found if any(column.count for column in columns)]
