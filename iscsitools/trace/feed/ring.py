"""A reader's rings in shared memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from iscsitools.probes.subscribers import Tracer
from iscsitools.trace import memory
from iscsitools.trace.feed.sink import RingTracer, Sink
from iscsitools.trace.protocol import HEADER, Message
from iscsitools.trace.record import SIZE
from iscsitools.trace.selection import Selection


class RingSink(Sink):
    """Records go into a memfd that the reader maps. Raises OSError when the memory is not to be had.

    ``rings``: how many there are in it, one behind the other: one for the loop's thread, and one for each data thread
    where the reader merges them. ``fds``: the memory's and the positions' descriptors for the reader;
    :meth:`forget_fds` closes the server's copies once they were sent. The reader's position is looked at when the
    writer has used up what it was granted. It can be any number at any time: outside what was written and not
    overwritten, it counts as the last good one.
    """

    def __init__(
        self,
        selection: Selection,
        records: int,
        tell_early: Callable[[Message], bool],
        tell: Callable[[Message], bool],
        lost: Callable[[], None],
        rings: int = 1,
    ) -> None:
        self._size = HEADER + records * SIZE
        ring, self._map = memory.create_ring(rings * self._size)
        try:
            position, self._page = memory.create_position()
        except OSError:
            self._map.close()
            os.close(ring)
            raise
        self.fds = [ring, position]
        self._rings = rings
        self._tracers: list[RingTracer] = []
        """The writers in C, of each ring."""
        self._whole = memoryview(self._map)
        self._header = self._whole[:HEADER].cast("Q")
        self._word = memoryview(self._page).cast("Q")
        self._position = 0
        super().__init__(selection, self._whole[HEADER : self._size], tell_early, tell, lost)

    def native(self, module: Any, clock: Callable[[], int] | None, fail: Callable[[Exception], None]) -> Tracer:
        """See :class:`Sink`."""
        self._tracers = [
            module.RingTracer(
                self._map, number * self._size + HEADER, self.introduce, self._grant, self._gives_up(fail), clock,
                self.selection.lun, self._capacity, self._page, number, self._rings > 1,
            )
            for number in range(self._rings)
        ]  # fmt: skip
        return self._tracers[0]

    def of_thread(self, number: int) -> Tracer | None:
        """The ring of a data thread (see ``probes.subscribers.ThreadedSubscriber``)."""
        return self._tracers[number + 1] if number + 1 < len(self._tracers) else None

    @property
    def written(self) -> int:
        """See :class:`Sink`."""
        return sum(tracer.written for tracer in self._tracers) if self._tracers else super().written

    @property
    def drops(self) -> int:
        """See :class:`Sink`."""
        return self._dropped + sum(tracer.drops for tracer in self._tracers)

    def forget_fds(self) -> None:
        """Close the descriptors; the mappings stay."""
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    def release(self) -> None:
        """Unmap."""
        self.forget_fds()
        for tracer in self._tracers:
            tracer.release()
        super().release()
        for view in (self._header, self._whole, self._word):
            view.release()
        self._map.close()
        self._page.close()

    def _last_record(self) -> Message:
        if self._rings == 1:
            return super()._last_record()
        return {"after": [tracer.written for tracer in self._tracers]}

    def _free(self, written: int) -> int:
        position = self._word[0]
        if self._position <= position <= written:
            self._position = position
        return self._capacity - (written - self._position)

    def _count_drop(self) -> None:
        super()._count_drop()
        self._header[0] = self.drops
