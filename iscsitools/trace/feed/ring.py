"""A reader's ring in shared memory."""

from __future__ import annotations

import os
from collections.abc import Callable

from iscsitools.trace import memory
from iscsitools.trace.feed.sink import Sink
from iscsitools.trace.protocol import HEADER, Message
from iscsitools.trace.record import SIZE
from iscsitools.trace.selection import Selection


class RingSink(Sink):
    """Records go into a memfd that the reader maps. Raises OSError when the memory is not to be had.

    ``fds``: the ring's and the position word's descriptors for the reader; :meth:`forget_fds` closes the server's
    copies once they were sent. The reader's position is looked at when the writer has used up what it was granted. It
    can be any number at any time: outside what was written and not overwritten, it counts as the last good one.
    """

    def __init__(
        self,
        selection: Selection,
        records: int,
        tell_early: Callable[[Message], bool],
        tell: Callable[[Message], bool],
        lost: Callable[[], None],
    ) -> None:
        ring, self._map = memory.create_ring(HEADER + records * SIZE)
        try:
            position, self._page = memory.create_position()
        except OSError:
            self._map.close()
            os.close(ring)
            raise
        self.fds = [ring, position]
        self._whole = memoryview(self._map)
        self._header = self._whole[:HEADER].cast("Q")
        self._word = memoryview(self._page).cast("Q")
        self._position = 0
        super().__init__(selection, self._whole[HEADER:], tell_early, tell, lost)

    def forget_fds(self) -> None:
        """Close the descriptors; the mappings stay."""
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    def release(self) -> None:
        """Unmap."""
        self.forget_fds()
        super().release()
        for view in (self._header, self._whole, self._word):
            view.release()
        self._map.close()
        self._page.close()

    def _free(self, written: int) -> int:
        position = self._word[0]
        if self._position <= position <= written:
            self._position = position
        return self._capacity - (written - self._position)

    def _count_drop(self) -> None:
        self.drops += 1
        self._header[0] = self.drops
