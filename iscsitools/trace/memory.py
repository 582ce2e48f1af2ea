"""Shared memory that neither side can take away from the other: sealed memfds (memfd_create(2), fcntl(2)).

The ring's memfd is allocated in full, mapped writable by the server alone, and then sealed against shrinking, growing,
every later write or writable mapping, and further seals. The position word's memfd stays writable, because the reader
writes it, but cannot be resized: so no access by the server can fault.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import platform
from collections.abc import Callable
from typing import Any, Final

PAGE: Final = mmap.PAGESIZE

# From <linux/fcntl.h>; the fcntl module has the last one only from Python 3.13 on, and no system but Linux has any.
_ADD_SEALS: Final = 1033
_GET_SEALS: Final = 1034
SEAL_SEAL: Final = 0x0001
SEAL_SHRINK: Final = 0x0002
SEAL_GROW: Final = 0x0004
SEAL_FUTURE_WRITE: Final = 0x0010

_STORES_IN_ORDER: Final = frozenset({"x86_64", "AMD64"})


class FencedWords:
    """64-bit words of shared memory with a full barrier on both sides of each access.

    For processors that reorder loads and stores: what was written before a word is seen before it, and what is read
    after a word is not older than it.
    """

    __slots__ = ("_fence", "_words")

    def __init__(self, words: memoryview, fence: Callable[[], None]) -> None:
        self._words = words
        self._fence = fence

    def __getitem__(self, index: int) -> int:
        self._fence()
        word: int = self._words[index]
        self._fence()
        return word

    def __setitem__(self, index: int | slice, value: Any) -> None:
        self._fence()
        self._words[index] = value
        self._fence()

    def release(self) -> None:
        """Let go of the memory."""
        self._words.release()


def _native_fence() -> Callable[[], None] | None:
    """The native module's barrier; None where the module was not built."""
    try:
        from iscsitools.provider._native import fence
    except ImportError:
        return None
    return fence


def why_no_rings() -> str:
    """Say why shared memory cannot be used here, or return an empty string when it can.

    Records are published by plain stores in program order; where a processor may reorder them, barriers are needed.
    """
    if not hasattr(os, "memfd_create"):
        return "this system has no memfd_create"
    if platform.machine() not in _STORES_IN_ORDER and _native_fence() is None:
        return f"{platform.machine()} may reorder stores, and the native module, which has barriers, was not built"
    return ""


def words_of(memory: memoryview) -> memoryview | FencedWords:
    """The memory as 64-bit words, each read and stored at once, in order with everything else."""
    words = memory.cast("Q")
    fence = None if platform.machine() in _STORES_IN_ORDER else _native_fence()
    return words if fence is None else FencedWords(words, fence)


def create_ring(size: int) -> tuple[int, mmap.mmap]:
    """Allocate ``size`` bytes in full, map them, seal them. Returns the descriptor to pass on, and the mapping.

    Raises OSError when the memory is not there or the kernel lacks a seal (F_SEAL_FUTURE_WRITE: Linux 5.1).
    """
    return _create("iscsitools-ring", size, SEAL_SHRINK | SEAL_GROW | SEAL_FUTURE_WRITE | SEAL_SEAL)


def create_position() -> tuple[int, mmap.mmap]:
    """Make the page of the reader's position word, which the reader may write but not resize."""
    return _create("iscsitools-position", PAGE, SEAL_SHRINK | SEAL_GROW | SEAL_SEAL)


def _create(name: str, size: int, seals: int) -> tuple[int, mmap.mmap]:
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.posix_fallocate(fd, 0, size)
        mapping = mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        try:
            fcntl.fcntl(fd, _ADD_SEALS, seals)
        except OSError:
            mapping.close()
            raise
    except OSError:
        os.close(fd)
        raise
    return fd, mapping


def check_shared(fd: int, size: int) -> None:
    """Raise ValueError unless a memfd of another process has this size and can lose none of it.

    To touch memory that was cut off behind a mapping is SIGBUS, so this comes before the mapping.
    """
    seals = seals_of(fd)
    if seals & (SEAL_SHRINK | SEAL_GROW) != SEAL_SHRINK | SEAL_GROW:
        raise ValueError("its size is not sealed")
    if os.fstat(fd).st_size != size:
        raise ValueError(f"it has {os.fstat(fd).st_size} bytes, {size} were announced")


def seals_of(fd: int) -> int:
    """Return the seals of a memfd."""
    return fcntl.fcntl(fd, _GET_SEALS)
