"""The class that keeps a logical unit's bytes, and what it may tell the server that it belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Final

from iscsitools.backstores.asynchronous import Operation, Request
from iscsitools.backstores.shortcut import Shortcut
from iscsitools.backstores.terms import (
    Allocation,
    BackstoreError,
    Capabilities,
    CloneSource,
    Extent,
    Option,
    Space,
)


class Host:
    """What a backstore may tell the server of its disk, from any thread. This one, which is there first, is deaf."""

    def size_changed(self) -> None:
        """``size`` is another: have it read, and the initiators told."""

    def access_changed(self) -> None:
        """``access`` is another: have it read; when this returns, commands are let through or refused by it.

        Waits for the event loop, two seconds at most.
        """

    def reservations_changed(self) -> None:
        """``reservations`` is another: have it read; when this returns it is in force. Waits as ``access_changed``."""


API_VERSION: Final = 1
"""The plugin API's version; a plugin module names the one it was written for as ``ISCSITOOLS_API``."""


class Backstore:
    """Base class of all backstores. Required: ``size``, ``read_into``, ``write``, ``flush``.

    Made with ``cls(what, **options)``: ``what`` is the text after the colon of ``KIND:WHAT``, the options are parsed
    by :attr:`options`. Nothing is opened before :meth:`open`. Raise BackstoreError from ``__init__`` or ``open`` with
    a line for the user. Any exception of another method becomes sense data: OSError by its errno, MediumError with
    its LBA, others as HARDWARE ERROR; it is logged, at a limited rate, and never ends a connection.

    Calls may overlap, on the same blocks too: each block is read as it was before or after a write, whole.
    """

    kind: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    what: ClassVar[str] = ""
    """What WHAT means, for the listing, as ``PATH`` or ``SIZE``."""
    options: ClassVar[Sequence[Option]] = ()
    blocking: bool = True
    """True: calls run in worker threads, several at once. False: they run on the event loop and must return at once."""
    block_size: int = 512
    """Set by the disk before ``open``, to its logical block size; a backstore that has its own says so in ``open``."""
    read_only: bool = False
    """Set before ``open``, by the disk or by a filter: True asks for a medium that this backstore never changes."""
    host: Host = Host()
    """The server; set after ``open``, when the disk is made."""
    source: str = ""
    """The text after the colon of ``KIND:WHAT``; set when the backstore is made from a spec."""

    def open(self) -> None:
        """Make the bytes available. Called once, before any other method below."""

    def close(self) -> None:
        """Let go of what ``open`` took. Called once, after ``flush``, with no call running."""

    def keep(self) -> int:
        """A descriptor of a file with what ``close`` would lose, for a server that takes over; -1: it loses nothing.

        Called after ``flush`` and before ``close``, with no call running. The descriptor is the caller's. The default
        is -1: right for whatever keeps its bytes elsewhere.
        """
        return -1

    def restore(self, fd: int) -> None:
        """Take what :meth:`keep` of the same disk gave; called after ``open``. The descriptor stays the caller's."""

    @property
    def size(self) -> int:
        """The size in bytes; may grow or shrink between calls when the medium is resized from outside."""
        raise NotImplementedError  # abstract

    @property
    def capabilities(self) -> Capabilities:
        """What this backstore is; read after ``open`` and after ``resize``."""
        return Capabilities()

    @property
    def unflushed(self) -> bool:
        """Whether a power failure now could take back something that a read returns: a read with FUA flushes first.

        The default says so of every backstore with a volatile cache. One that knows better spares the flush.
        """
        return self.capabilities.volatile_cache

    @property
    def identity(self) -> str:
        """A text that is the same at every start and differs between the disks of one target.

        Serial number and NAA designator derive from it, the target's name and the LUN, unless there is an
        ``own_identity``. The default makes it of the kind and WHAT.
        """
        return f"{self.kind}:{self.source}"

    @property
    def own_identity(self) -> str:
        """A text that no other disk in the world has, stored with the medium or a part of it; empty: there is none.

        Serial number and NAA designator derive from it alone, so that the disk is itself to initiators whatever
        target serves it, by whatever path and on whatever machine. Read after ``open``.
        """
        return ""

    @property
    def allocated(self) -> int | None:
        """The bytes that it takes where they are kept; None: it does not know, or knows only by asking elsewhere."""
        return None

    @property
    def trouble(self) -> str:
        """What is wrong with it until it is opened again, in a few words; empty: nothing is known to be."""
        return ""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` with the bytes from ``offset`` on."""
        raise NotImplementedError  # abstract

    def write(self, offset: int, buffer: memoryview) -> None:
        """Put the bytes of ``buffer`` at ``offset``. The buffer is the caller's again when this returns."""
        raise NotImplementedError  # abstract

    def flush(self) -> None:
        """Return when every write that had returned before this call is on stable storage."""
        raise NotImplementedError  # abstract

    def write_through(self, offset: int, buffer: memoryview) -> None:
        """Write and make that write durable (FUA, or ``cache=writethrough``). The default writes and flushes."""
        self.write(offset, buffer)
        self.flush()

    def discard(self, offset: int, length: int) -> None:
        """Give the space of a range back; afterwards it reads as zeros. Default: zeros are written."""
        self.write_zeroes(offset, length)

    def write_zeroes(self, offset: int, length: int) -> None:
        """Make a range read as zeros. The default writes them, a piece at a time."""
        piece = memoryview(bytes(min(length, 1 << 20)))
        while length > 0:
            n = min(length, len(piece))
            self.write(offset, piece[:n])
            offset += n
            length -= n

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """The states of a range, in order, without gaps. Default: all of it is mapped."""
        yield Extent(offset, length, Allocation.MAPPED)

    def space(self) -> Space | None:
        """What a thin disk takes and what is left for it: initiators can have themselves warned. None: not known.

        May block. It answers always or never, from ``open`` on. Default: None.
        """
        return None

    def clone_source(self) -> CloneSource | None:
        """What ``clone_from`` of another backstore can copy this one's bytes from, without their passing through here.

        The caller closes it. Default: None, so that they are read and written.
        """
        return None

    def clone_from(self, source: CloneSource, source_offset: int, offset: int, length: int) -> bool:
        """Copy bytes of another backstore, or of this one, by own means: shared blocks, or a copy within the kernel.

        False: it cannot be done, or not whole, and nothing is promised of the range; the caller then reads and writes.
        Default: False.
        """
        return False

    def resize(self, size: int) -> None:
        """Change the size. Default: raises BackstoreError."""
        raise BackstoreError(f"a {self.kind} backstore cannot be resized")

    def crypto_erase(self) -> None:
        """Change the key that all bytes are encrypted with, so that nobody can read what was written before.

        For those that say so by the capability of this name. Called after ``flush``, with no other call running. When
        it returns, no power failure brings the old key back; after one in between, one of the two is in force, whole.
        If it raises, it is called again, maybe by another process. What a block reads as that had been written is not
        said; what reads as zeros because nothing is there still does.
        """
        raise NotImplementedError  # called only where the capability says so

    def seal(self, offset: int, data: memoryview) -> memoryview:
        """Make of the bytes of a write what may lie outside of the medium, in the journal of atomic writes.

        As many bytes. Default: as they are. A backstore that encrypts gives them encrypted.
        """
        return data

    def unseal(self, offset: int, data: memoryview) -> memoryview:
        """What :meth:`seal` was given for this offset, also by another process."""
        return data

    def try_read_into(self, offset: int, buffer: memoryview) -> bool:
        """Read if that needs no waiting: True and ``buffer`` is filled, or False and nothing is promised of it.

        Called on the event loop, so it must return at once. The default reads if calls do not block.
        """
        if self.blocking:
            return False
        self.read_into(offset, buffer)
        return True

    def try_write(self, offset: int, buffer: memoryview) -> bool:
        """Write if that needs no waiting (the page cache takes it): True when done, False when nothing was done."""
        if self.blocking:
            return False
        self.write(offset, buffer)
        return True

    def shortcut(self) -> Shortcut | None:
        """How a data path outside Python reaches the bytes by itself, instead of the two above; None: it does not.

        Asked once for each nexus, after ``open``. The default is None. A class that derives from one with an offer
        does not inherit it, for it may change what is read.
        """
        return None

    # A disk that several servers export

    @property
    def access(self) -> Mapping[int, str] | None:
        """The target port groups of all servers that export it, with their states; None, the default: it has one.

        A number is that of a portal group (the relative target port identifier is the same); the states are those of
        the configuration's ``access``, such as ``optimized`` and ``standby``. Asked for on the event loop.
        """
        return None

    def request_access(self, states: Mapping[int, str]) -> None:
        """An initiator asks for these states (SET TARGET PORT GROUPS): return when they are reached, or raise.

        Called in a thread, and only where ``access`` is not None.
        """
        raise NotImplementedError  # abstract for those

    @property
    def reservations(self) -> str | None:
        """The text of the persistent reservations that the servers share; empty: none; None: they share nothing."""
        return None

    def keep_reservations(self, text: str) -> None:
        """Keep this text, and return when all servers obey it. In a thread; raises OSError when it is not kept."""
        raise NotImplementedError  # abstract for those that have ``reservations``

    # Asynchronous calls, beside the blocking ones

    @property
    def asynchronous(self) -> frozenset[Operation]:
        """The operations that :meth:`submit` takes; looked at for every call. Default: none.

        All others go by the blocking methods, in worker threads if ``blocking``; so those have to be there too.
        """
        return frozenset()

    def submit(self, request: Request) -> None:
        """Begin a call and return at once; ``request.complete()`` is said when it is done, here or in any thread.

        Called on the event loop, for one request after the other; requests under way never overlap on blocks that one
        of them changes. What it raises completes the request. It must not wait.
        """
        raise NotImplementedError  # called only for what is in ``asynchronous``

    def cancel(self, request: Request) -> bool:
        """Take a request back, on the event loop. True: it has done nothing, uses no buffer, and will not complete.

        False, the default: it completes as if this had not been called, or soon with an error.
        """
        return False

    @property
    def completion_fd(self) -> int:
        """A descriptor that can be read when :meth:`reap` has something to do (an eventfd); -1: there is none.

        Asked for once, before the first request is submitted; it stays open until ``close``.
        """
        return -1

    def reap(self) -> None:
        """``completion_fd`` could be read: make it unreadable again, and complete what is done. On the event loop."""
