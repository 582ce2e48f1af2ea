"""The class of a filter: a backstore over another one, which passes on what it does not change."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

from iscsitools.backstores.asynchronous import Operation, Request
from iscsitools.backstores.backstore import Backstore, Host
from iscsitools.backstores.terms import BackstoreError, Capabilities, CloneSource, Extent, Setting, Space

_METHODS: Final[Mapping[Operation, tuple[str, ...]]] = {
    Operation.READ: ("read_into",),
    Operation.WRITE: ("write", "write_through"),
    Operation.FLUSH: ("flush",),
    Operation.DISCARD: ("write", "discard"),
    Operation.WRITE_ZEROES: ("write", "write_zeroes"),
    Operation.COMPARE_AND_WRITE: ("read_into", "write", "write_through"),
}
"""What a filter has to leave alone of the blocking methods for an asynchronous call to go past it."""


class Filter(Backstore):
    """A backstore over another one. Made with ``cls(inner, **options)``; passes on what it does not change.

    What follows from ``read_into`` (``try_read_into``, ``extents``) and from ``write`` (``try_write``,
    ``write_through``, ``discard``, ``write_zeroes``) goes to the inner one only while the class leaves ``read_into``
    and ``write`` alone, so that no call goes round a filter that changes them; otherwise it is done by those two. A
    class that overrides them and changes nothing says so by ``passes_reads`` and ``passes_writes``; one that only
    watches is derived from :class:`iscsitools.backstores.filters.watching.WatchingFilter`.
    """

    inner: Backstore
    """The one below."""
    passes_reads: bool = True
    """Reads go through unchanged: the class leaves ``read_into`` alone, or its body or ``__init__`` says so.

    It may change while the disk is served; it is looked at for every call.
    """
    passes_writes: bool = True
    """The same of ``write``."""
    same_disk: ClassVar[bool] = True
    """What is read is what the inner one has, so the identity is that one's; False in a class that changes reads."""
    _left_alone: ClassVar[frozenset[Operation]] = frozenset(Operation)

    def __init__(self, inner: Backstore) -> None:
        self.inner = inner
        self._blocks: bool | None = None

    @property
    def blocking(self) -> bool:
        """As the inner one's, until it is set."""
        return self.inner.blocking if self._blocks is None else self._blocks

    @blocking.setter
    def blocking(self, value: bool) -> None:
        self._blocks = value

    @property
    def host(self) -> Host:
        """The inner one's: what it tells of itself, it tells of this disk."""
        return self.inner.host

    @host.setter
    def host(self, value: Host) -> None:
        self.inner.host = value

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        parent = next(base for base in cls.__mro__[1:] if issubclass(base, Filter))
        own = vars(cls)
        if "passes_reads" not in own and cls.read_into is not parent.read_into:
            cls.passes_reads = False
        if "passes_writes" not in own and cls.write is not parent.write:
            cls.passes_writes = False
        if "same_disk" not in own:
            cls.same_disk = parent.same_disk and cls.passes_reads
        cls._left_alone = frozenset(
            operation
            for operation, names in _METHODS.items()
            if all(getattr(cls, name) is getattr(Filter, name) for name in names)
        )

    # Settings that change while the disk is served

    def settings(self) -> Sequence[Setting]:
        """What is in force of :attr:`options` now: the newest last, which counts where two are for one call.

        Those that have ended are left out. For any thread. Default: none, for nothing can be changed.
        """
        return ()

    def configure(self, values: Mapping[str, str], client: str = "", seconds: float | None = None) -> None:
        """Put options into force, all of them or none: texts, as in a spec.

        ``client``: for the calls of initiators whose names this pattern matches; empty: for all. ``seconds``: for so
        long. A setting takes the place of the one before it with the same name and client. Raises BackstoreError with
        a line for the user. For any thread but those inside of a call; the caller then has the disk look anew at what
        it keeps of this filter (``LogicalUnit.refresh``). Default: raises, for nothing can be changed.
        """
        raise BackstoreError(f"the filter {self.kind} cannot be changed while it serves")

    def clear(self, names: Sequence[str] = (), client: str | None = None) -> None:
        """Take back what ``configure`` has put into force: these names, or all; of this client, or of all.

        What the spec has said is in force again then. Raises BackstoreError for a name that is no option.
        """

    def open(self) -> None:
        """Open the inner one, after giving it this disk's block size and ``read_only``; take over its block size."""
        self.inner.block_size = self.block_size
        self.inner.read_only = self.read_only
        self.inner.open()
        self.block_size = self.inner.block_size

    def close(self) -> None:
        """Close the inner one."""
        self.inner.close()

    def keep(self) -> int:
        """As the inner one's."""
        return self.inner.keep()

    def restore(self, fd: int) -> None:
        """As the inner one's."""
        self.inner.restore(fd)

    @property
    def size(self) -> int:
        """As the inner one's."""
        return self.inner.size

    @property
    def capabilities(self) -> Capabilities:
        """As the inner one's; a filter that makes another disk of it may keep bytes that no change of a key reaches."""
        inner = self.inner.capabilities
        return inner if self.same_disk or not inner.crypto_erase else dataclasses.replace(inner, crypto_erase=False)

    @property
    def unflushed(self) -> bool:
        """As the inner one's."""
        return self.inner.unflushed

    @property
    def identity(self) -> str:
        """The inner one's, and this filter's kind where it changes what is read: that is another disk."""
        return self.inner.identity if self.same_disk else f"{self.inner.identity}+{self.kind}"

    @property
    def own_identity(self) -> str:
        """The same of ``own_identity``."""
        inner = self.inner.own_identity
        return f"{inner}+{self.kind}" if inner and not self.same_disk else inner

    @property
    def allocated(self) -> int | None:
        """The inner one's."""
        return self.inner.allocated

    @property
    def trouble(self) -> str:
        """The inner one's."""
        return self.inner.trouble

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Read from the inner one."""
        self.inner.read_into(offset, buffer)

    def write(self, offset: int, buffer: memoryview) -> None:
        """Write to the inner one."""
        self.inner.write(offset, buffer)

    def write_through(self, offset: int, buffer: memoryview) -> None:
        """Write durably to the inner one, or by ``write`` and ``flush`` where this filter changes writes."""
        if self.passes_writes:
            self.inner.write_through(offset, buffer)
        else:
            super().write_through(offset, buffer)

    def flush(self) -> None:
        """Flush the inner one."""
        self.inner.flush()

    def discard(self, offset: int, length: int) -> None:
        """Discard from the inner one, or write zeros where this filter changes writes."""
        if self.passes_writes:
            self.inner.discard(offset, length)
        else:
            super().discard(offset, length)

    def write_zeroes(self, offset: int, length: int) -> None:
        """Write zeros to the inner one, by its own means or, where this filter changes writes, by ``write``."""
        if self.passes_writes:
            self.inner.write_zeroes(offset, length)
        else:
            super().write_zeroes(offset, length)

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """The inner one's; all mapped where this filter changes reads."""
        return self.inner.extents(offset, length) if self.passes_reads else super().extents(offset, length)

    def space(self) -> Space | None:
        """The inner one's, unless this filter makes another disk of it."""
        return self.inner.space() if self.same_disk else None

    def clone_source(self) -> CloneSource | None:
        """The inner one's, where this filter leaves reads alone."""
        return self.inner.clone_source() if self.passes_reads else None

    def clone_from(self, source: CloneSource, source_offset: int, offset: int, length: int) -> bool:
        """By the inner one, where this filter leaves writes alone."""
        return self.passes_writes and self.inner.clone_from(source, source_offset, offset, length)

    def resize(self, size: int) -> None:
        """Resize the inner one."""
        self.inner.resize(size)

    def crypto_erase(self) -> None:
        """Have the inner one change its key."""
        self.inner.crypto_erase()

    def seal(self, offset: int, data: memoryview) -> memoryview:
        """As the inner one does."""
        return self.inner.seal(offset, data)

    def unseal(self, offset: int, data: memoryview) -> memoryview:
        """As the inner one does."""
        return self.inner.unseal(offset, data)

    def try_read_into(self, offset: int, buffer: memoryview) -> bool:
        """Ask the inner one, where this filter leaves reads alone; else read if that cannot block."""
        if self.passes_reads:
            return self.inner.try_read_into(offset, buffer)
        return super().try_read_into(offset, buffer)

    def try_write(self, offset: int, buffer: memoryview) -> bool:
        """Ask the inner one, where this filter leaves writes alone; else write if that cannot block."""
        if self.passes_writes:
            return self.inner.try_write(offset, buffer)
        return super().try_write(offset, buffer)

    @property
    def access(self) -> Mapping[int, str] | None:
        """The inner one's."""
        return self.inner.access

    def request_access(self, states: Mapping[int, str]) -> None:
        """Ask the inner one."""
        self.inner.request_access(states)

    @property
    def reservations(self) -> str | None:
        """The inner one's."""
        return self.inner.reservations

    def keep_reservations(self, text: str) -> None:
        """The inner one keeps it."""
        self.inner.keep_reservations(text)

    @property
    def asynchronous(self) -> frozenset[Operation]:
        """Those of the inner one of which this class overrides no blocking method: the others are made by those."""
        return self.inner.asynchronous & self._left_alone

    def submit(self, request: Request) -> None:
        """Hand it to the inner one."""
        self.inner.submit(request)

    def cancel(self, request: Request) -> bool:
        """As the inner one does."""
        return self.inner.cancel(request)

    @property
    def completion_fd(self) -> int:
        """The inner one's."""
        return self.inner.completion_fd

    def reap(self) -> None:
        """As the inner one does."""
        self.inner.reap()


def stack_name(store: Backstore) -> str:
    """The kinds of a backstore and the filters over it, as a spec has them: ``file+cow``."""
    kinds = [store.kind]
    while isinstance(store, Filter):
        store = store.inner
        kinds.append(store.kind)
    return "+".join(reversed(kinds))
