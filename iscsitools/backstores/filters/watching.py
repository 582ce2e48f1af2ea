"""The base class of filters that only watch, or only fail and wait: what they pass on is what they were given."""

from __future__ import annotations

from iscsitools.backstores.base import CloneSource, Filter


class WatchingFilter(Filter):
    """Passes every call on by its own name, the fast path and UNMAP too, and calls :meth:`watch` when it succeeded.

    Derive from it and override ``watch``, or single methods: ``passes_reads`` and ``passes_writes`` are True all the
    same, so an overridden ``read_into`` is not asked about a read that the fast path has answered.
    """

    passes_reads = True
    passes_writes = True
    same_disk = True

    def __init_subclass__(cls, **kwargs: object) -> None:
        own = set(vars(cls))
        super().__init_subclass__(**kwargs)
        for name in {"passes_reads", "passes_writes", "same_disk"} - own:
            setattr(cls, name, True)

    def watch(self, call: str, offset: int, length: int) -> None:
        """A call has succeeded: its name, and the bytes from ``offset`` on (0 and 0 for a flush).

        The names are ``read_into``, ``write``, ``write_through``, ``flush``, ``discard`` and ``write_zeroes``; the
        ``try_`` forms go by the same.

        Called on the event loop and in worker threads, from several at once; it has to return soon.
        """

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Read, and tell."""
        self.inner.read_into(offset, buffer)
        self.watch("read_into", offset, len(buffer))

    def write(self, offset: int, buffer: memoryview) -> None:
        """Write, and tell."""
        self.inner.write(offset, buffer)
        self.watch("write", offset, len(buffer))

    def write_through(self, offset: int, buffer: memoryview) -> None:
        """Write durably, and tell."""
        self.inner.write_through(offset, buffer)
        self.watch("write_through", offset, len(buffer))

    def flush(self) -> None:
        """Flush, and tell."""
        self.inner.flush()
        self.watch("flush", 0, 0)

    def discard(self, offset: int, length: int) -> None:
        """Discard, and tell."""
        self.inner.discard(offset, length)
        self.watch("discard", offset, length)

    def write_zeroes(self, offset: int, length: int) -> None:
        """Write zeros, and tell."""
        self.inner.write_zeroes(offset, length)
        self.watch("write_zeroes", offset, length)

    def clone_source(self) -> CloneSource | None:
        """None: what is copied is read, so that it is watched."""
        return None

    def clone_from(self, source: CloneSource, source_offset: int, offset: int, length: int) -> bool:
        """False: what is copied is written, so that it is watched."""
        return False

    def try_read_into(self, offset: int, buffer: memoryview) -> bool:
        """Read at once if that can be, and tell."""
        done = super().try_read_into(offset, buffer)
        if done:
            self.watch("read_into", offset, len(buffer))
        return done

    def try_write(self, offset: int, buffer: memoryview) -> bool:
        """Write at once if that can be, and tell."""
        done = super().try_write(offset, buffer)
        if done:
            self.watch("write", offset, len(buffer))
        return done
