"""The ``nbd`` backstore: a disk that an NBD server exports."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator

from iscsitools.backstores import values
from iscsitools.backstores.asynchronous import flush_request
from iscsitools.backstores.base import (
    Allocation,
    BackstoreError,
    Capabilities,
    Extent,
    Operation,
    Option,
    Request,
)
from iscsitools.backstores.submitting import SubmittingBackstore
from iscsitools.backstores.system_modules import import_system_module

from iscsitools_nbd.client import Client
from iscsitools_nbd.commands import Command, Done, Kind
from iscsitools_nbd.uri import checked_uri, public_uri

_BLOCK_SIZES = (512, 1024, 2048, 4096)
_KINDS = {
    Operation.READ: Kind.READ,
    Operation.WRITE: Kind.WRITE,
    Operation.FLUSH: Kind.FLUSH,
    Operation.DISCARD: Kind.DISCARD,
    Operation.WRITE_ZEROES: Kind.ZERO,
}


class NbdBackstore(SubmittingBackstore):
    """``nbd:URI``: the export of an NBD server, over several connections where the server says that it may be.

    The server may go and come back: commands wait for it up to ``timeout``, what was answered and not flushed is made
    again, and what was under way is sent again. After ``timeout`` they are NOT READY until it is back.
    """

    kind = "nbd"
    summary = "a disk that an NBD server exports (qemu-nbd, nbdkit, nbd-server)"
    what = "URI"
    options = (
        Option("connections", values.positive(values.integer), 2, "connections, if the server allows more than one"),
        Option("timeout", values.duration, 30.0, "how long commands wait for a server that is away"),
        Option("keep", values.size, 64 << 20, "memory for changes since the last flush, made again after a restart"),
    )

    def __init__(self, what: str, connections: int = 2, timeout: float = 30.0, keep: int = 64 << 20) -> None:
        try:
            self._uri = checked_uri(what)
        except ValueError as error:
            raise BackstoreError(f"nbd: {error}") from None
        if timeout <= 0:
            raise BackstoreError("nbd: timeout has to be more than 0")
        self._connections = connections
        self._timeout = timeout
        self._keep = keep
        self._client: Client

    def open(self) -> None:
        """Connect, and ask what the export is."""
        nbd = import_system_module("nbd", "libnbdmod", package="python3-libnbd")
        shown = public_uri(self._uri)
        client = Client(nbd, self._uri, shown, self._connections, self._timeout, self._keep)
        try:
            client.open()
        except OSError as error:
            raise BackstoreError(f"nbd: {shown}: {error.strerror or error}") from None
        self._client = client
        client.pool.size_changed = lambda: self.host.size_changed()
        export = client.pool.export
        self._operations = frozenset(
            {Operation.READ, Operation.WRITE}
            | ({Operation.FLUSH} if export.can_flush else set())
            | ({Operation.DISCARD, Operation.WRITE_ZEROES} if export.can_zero else set())
        )
        smallest = export.smallest
        if smallest > self.block_size:
            if smallest not in _BLOCK_SIZES:
                client.close()
                raise BackstoreError(
                    f"nbd: {shown}: wants requests of {smallest} bytes, and no disk's block is so long"
                )
            self.block_size = smallest

    def close(self) -> None:
        """End the connections."""
        self._client.close()

    @property
    def size(self) -> int:
        """The export's, as the server said when the newest connection was made."""
        return self._client.pool.export.size

    @property
    def capabilities(self) -> Capabilities:
        """What the server has said; UNMAP where it can write zeros that take no space."""
        export = self._client.pool.export
        return Capabilities(
            read_only=export.read_only,
            volatile_cache=export.can_flush and not export.read_only,
            thin=export.can_zero and export.can_trim and not export.read_only,
            rotational=export.rotational,
            physical_block_size=export.preferred if self.block_size <= export.preferred <= 65536 else 0,
        )

    @property
    def identity(self) -> str:
        """Where the export is, and its name."""
        return f"{self.kind}:{public_uri(self._uri)}"

    @property
    def trouble(self) -> str:
        """That the server is away."""
        return "the NBD server is away" if self._client.pool.is_away else ""

    @property
    def asynchronous(self) -> frozenset[Operation]:
        """All that the server has a command for; COMPARE AND WRITE is made of a read and a write."""
        return self._operations

    def submit(self, request: Request) -> None:
        """Send what the request asks for, in as many commands as the server's limits make of it.

        A durable write goes with FUA, or is followed by a flush where the server has no FUA. A discard is sent as zeros
        that need not be allocated: NBD_CMD_TRIM promises no zeros.
        """
        if request.durable and not self._client.pool.export.can_fua:
            self._write_and_flush(request)
        else:
            self._send(request, request.complete)

    def _write_and_flush(self, request: Request) -> None:
        def written(error: OSError | None) -> None:
            if error is None and self._client.pool.export.can_flush:
                self._send(flush_request(), request.complete)
            else:
                request.complete(error)

        self._send(request, written)

    def _send(self, request: Request, done: Done) -> None:
        kind = _KINDS[request.operation]
        offset, end, buffer = request.offset, request.offset + request.length, request.buffer
        step = self._client.pool.export.piece(kind)
        if request.length > step:
            done = _after(-(-request.length // step), done)
        fua = request.durable and self._client.pool.export.can_fua
        while True:
            length = min(step, end - offset)
            part = buffer[offset - request.offset :][:length] if buffer else None
            self._client.submit(Command(kind, offset, length, done, part, fua))
            offset += length
            if offset >= end:
                return

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """What the server says of the range (``base:allocation``), as far as it says anything."""
        end = offset + length
        while offset < end:
            if not self._client.pool.export.has_status:
                yield Extent(offset, end - offset, Allocation.MAPPED)
                return
            piece = min(end - offset, self._client.pool.export.piece(Kind.STATUS))
            entries = self._status(offset, piece)
            for extent_length, flags in zip(entries[::2], entries[1::2], strict=True):
                extent = Extent(offset, min(extent_length, end - offset), _state(flags))
                if extent.length <= 0:
                    return
                yield extent
                offset += extent.length
            if not entries:
                raise OSError(errno.EIO, "the NBD server has said nothing of the range")

    def _status(self, offset: int, length: int) -> list[int]:
        """Lengths and flags, in turn, of a part of the range, from its beginning on."""
        answer: list[OSError | None] = []
        over = threading.Event()

        def done(error: OSError | None) -> None:
            answer.append(error)
            over.set()

        command = Command(Kind.STATUS, offset, length, done)
        self._client.submit(command)
        over.wait()
        if answer[0] is not None:
            raise answer[0]
        return command.entries


def _after(number: int, done: Done) -> Done:
    """What each of several commands tells: the last one ends the request, with the first error that there was."""
    errors: list[OSError] = []
    left = number

    def one_is_done(error: OSError | None) -> None:
        nonlocal left
        if error is not None:
            errors.append(error)
        left -= 1
        if left == 0:
            done(errors[0] if errors else None)

    return one_is_done


def _state(flags: int) -> Allocation:
    if flags & 1:  # NBD_STATE_HOLE
        return Allocation.HOLE if flags & 2 else Allocation.MAPPED
    return Allocation.ZERO if flags & 2 else Allocation.MAPPED
