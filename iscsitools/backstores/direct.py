"""O_DIRECT: transfers past the page cache, through buffers that lie as the device wants them."""

from __future__ import annotations

import errno
import mmap
import os
import threading
from typing import Final

from iscsitools.backstores.syscalls import read_fully, write_fully

_BOUNCE: Final = 1 << 20
_ALIGNMENTS: Final = (512, 1024, 2048, 4096)


def direct_alignment(fd: int) -> int:
    """Find the smallest unit that offset and length of a transfer on ``fd`` (opened O_DIRECT) must be multiples of.

    Found by trying: file systems and kernels differ in how they tell. 0: none up to 4096 works.
    """
    with mmap.mmap(-1, mmap.PAGESIZE * 2) as page, memoryview(page) as view:
        for alignment in _ALIGNMENTS:
            with view[:alignment] as part:
                try:
                    os.preadv(fd, (part,), 0)
                except OSError as error:
                    if error.errno != errno.EINVAL:
                        raise
                else:
                    return alignment
    return 0


class DirectIo:
    """Reads and writes on a descriptor opened O_DIRECT.

    Each thread has one aligned buffer of 1 MiB, because the buffers of the SCSI layer lie anywhere; it goes with the
    thread.
    """

    __slots__ = ("_fd", "_local")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._local = threading.local()

    def read(self, offset: int, buffer: memoryview) -> int:
        """Fill ``buffer``; returns the bytes read, fewer than asked for only at the file's end."""
        bounce = self._bounce()
        done = 0
        while done < len(buffer):
            part = bounce[: min(_BOUNCE, len(buffer) - done)]
            count = read_fully(self._fd, offset + done, part)
            buffer[done : done + count] = part[:count]
            done += count
            if count < len(part):
                break
        return done

    def write(self, offset: int, buffer: memoryview, flags: int = 0) -> None:
        """Write all of ``buffer``."""
        bounce = self._bounce()
        for start in range(0, len(buffer), _BOUNCE):
            piece = buffer[start : start + _BOUNCE]
            part = bounce[: len(piece)]
            part[:] = piece
            write_fully(self._fd, offset + start, part, flags)

    def _bounce(self) -> memoryview:
        view: memoryview | None = getattr(self._local, "view", None)
        if view is None:
            view = self._local.view = memoryview(mmap.mmap(-1, _BOUNCE))
        return view
