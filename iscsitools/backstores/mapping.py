"""A file mapped into memory for the kernel's eyes only: a socket sends from it, and nobody copies.

A page of the mapping is never touched by this process: beyond the end of a file that somebody has cut it would be
ended by SIGBUS. The kernel that touches it for sendmsg(2) returns EFAULT instead.
"""

from __future__ import annotations

import contextlib
import mmap


class FileMapping:
    """A read-only, shared mapping of the whole of a file, made when it is first wanted and anew when the file grew."""

    __slots__ = ("_fd", "_map", "_refused", "_view")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._map: mmap.mmap | None = None
        self._view: memoryview | None = None
        self._refused = -1

    def view(self, offset: int, length: int, size: int) -> memoryview | None:
        """The bytes of a range of the file, which has ``size`` bytes now; None where the file cannot be mapped."""
        whole = self._view
        if whole is None or len(whole) != size:
            if size == self._refused:
                return None
            whole = self._make(size)
        return None if whole is None else whole[offset : offset + length]

    def _make(self, size: int) -> memoryview | None:
        self.close()
        try:
            self._map = mmap.mmap(self._fd, size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
        except (OSError, ValueError, OverflowError):  # no address space, or a file system without mappings
            self._refused = size
            return None
        self._view = memoryview(self._map)
        return self._view

    def close(self) -> None:
        """Let the mapping go; it ends when the last view of it is released."""
        view, self._view = self._view, None
        mapped, self._map = self._map, None
        if view is not None and mapped is not None:
            view.release()
            with contextlib.suppress(BufferError):  # a view is still being sent from: it goes with that
                mapped.close()
