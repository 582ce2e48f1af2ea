"""Who listens to probes: what of an event a subscriber gets, and the forms of the calls by which he gets it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable


@dataclass(slots=True, eq=False)
class ConnectionInfo:
    """What conninfo_t and iscsiinfo_t say of a connection: strings formatted once, updated at login.

    ``ident`` numbers connections of this process from 1 and is never used again. ``local`` and ``remote`` are
    ``address:port`` (``[address]:port`` for IPv6); ``isid`` is 12 lower-case hex digits; ``tsih`` is ``0x%04x``.
    """

    ident: int
    local: str = ""
    remote: str = ""
    protocol: str = "ipv4"
    target: str = ""
    initiator: str = ""
    isid: str = "000000000000"
    tsih: str = "0x0000"
    transport: str = "sockets"
    generation: int = 0
    """Counts changes of the strings above, so that a copy of them elsewhere is known to be old."""


class Xfer(NamedTuple):
    """One transfer between a backstore's buffer and the initiator (xferinfo_t); tags as in iscsiinfo_t."""

    itt: int
    ttt: int
    laddr: int
    loffset: int
    length: int
    type: int


@runtime_checkable
class Subscriber(Protocol):
    """Gets every event of the probes in its mask, on the loop's thread, in the order in which they fired.

    It must be quick and must not raise; one that raises is detached.
    """

    def on_pdu(self, probe: int, now: int, conn: ConnectionInfo, lun: int, bhs: bytes, cdb: bytes, sense: int) -> None:
        """A PDU was received or goes out.

        ``now``: nanoseconds. ``bhs``: its 48 bytes. ``cdb``: the CDB (scsi-command only, else ``b""``), of its true
        length. ``sense``: key << 16 | ASC << 8 | ASCQ of the status that this PDU carries, else 0.
        """

    def on_xfer(self, probe: int, now: int, conn: ConnectionInfo, lun: int, xfer: Xfer) -> None:
        """A transfer begins or has ended."""


Buffer = bytes | bytearray | memoryview


class PduCall(Protocol):
    """What a call site calls for a PDU; its BHS begins at ``offset`` of ``buffer`` and has to be copied."""

    def __call__(
        self,
        probe: int,
        conn: ConnectionInfo,
        lun: int,
        buffer: Buffer,
        offset: int = 0,
        cdb: bytes = b"",
        sense: int = 0,
    ) -> None:
        """Fire."""


class XferCall(Protocol):
    """What a call site calls for a transfer; ``kind`` is XFER_READ or XFER_WRITE, ``length`` in bytes."""

    def __call__(
        self, probe: int, conn: ConnectionInfo, lun: int, itt: int, ttt: int, laddr: int, loffset: int,
        length: int, kind: int,
    ) -> None:  # fmt: skip
        """Fire."""


class ReadCall(Protocol):
    """What the fast path calls once for a read's scsi-command, xfer-start and data-send (with status).

    ``began`` is the time of the scsi-command, read by the call site when it would have fired; the other two fire now.
    ``operation``: the CDB's first two bytes; the BHSs are at ``at`` of ``request`` and at ``answer_at`` of ``answer``.
    """

    def __call__(
        self, began: int, conn: ConnectionInfo, lun: int, operation: int, itt: int, address: int, length: int,
        request: Buffer, at: int, answer: Buffer, answer_at: int,
    ) -> None:  # fmt: skip
        """Fire the three."""


class WriteCall(Protocol):
    """The same for a write's scsi-command, xfer-start and xfer-done of its immediate data, and scsi-response.

    ``began``, ``started`` and ``moved`` are the times of the first three; the last one fires now.
    """

    def __call__(
        self, began: int, started: int, moved: int, conn: ConnectionInfo, lun: int, operation: int, itt: int,
        address: int, length: int, request: Buffer, at: int, answer: Buffer, answer_at: int,
    ) -> None:  # fmt: skip
        """Fire the four."""


Log = tuple[list[int], bytearray]
"""Of commands, in their order: when each was answered, and their BHSs one behind the other."""


class LogCall(Protocol):
    """What the fast path asks once for each stretch of received PDUs: the log that it adds its commands to, or None.

    For a reader who has to see no event when it happens: to note a time costs less than any call, and the BHSs of
    commands that came together are copied together. None: the reader does not want this connection.
    """

    def __call__(self, conn: ConnectionInfo) -> Log | None:
        """Return the log."""


class LoggedCall(Protocol):
    """What it calls at the end of such a stretch, if it has added anything.

    ``began``: when it came to the first command; it came to each of the others when the one before it was answered.
    ``statsn``: of the first answer; the others have the following ones. ``itt``: of the last read, or the reserved tag.
    Its xfer-done stands for those of all reads of the stretch, which do not fire.
    """

    def __call__(self, began: int, statsn: int, itt: int) -> None:
        """Take note."""


Mark = tuple[int, int, int, int, int, int]
"""A read whose data waits to be sent: where in the stream it ends; its LUN, ITT, address, offset and length."""


class SentCall(Protocol):
    """What the output calls when the socket took bytes: xfer-done of the reads in ``marks`` that end up to ``upto``.

    It takes those off.
    """

    def __call__(self, conn: ConnectionInfo, marks: deque[Mark], upto: int) -> None:
        """Fire xfer-done of each."""


class Calls(NamedTuple):
    """What a direct subscriber is called by."""

    pdu: PduCall
    xfer: XferCall
    read: ReadCall | None = None
    """None: it wants every event by itself, at its time."""
    write: WriteCall | None = None
    sent: SentCall | None = None
    log: LogCall | None = None
    """This one and the next instead of ``read`` and ``write``."""
    logged: LoggedCall | None = None


@runtime_checkable
class DirectSubscriber(Protocol):
    """A subscriber that the call sites may call without anything in between, for the cost of one call per event.

    Its calls read the clock themselves. They must not raise: they report to ``fail`` and go on.
    """

    def direct(self, clock: Callable[[], int], fail: Callable[[Exception], None]) -> Calls:
        """Return the calls for the call sites. ``fail`` detaches this subscriber."""


class Tracer(Protocol):
    """An object of the data path's module in C that takes events."""

    @property
    def pdu(self) -> PduCall:
        """A PDU's event."""

    @property
    def xfer(self) -> XferCall:
        """A transfer's event."""


@runtime_checkable
class NativeSubscriber(Protocol):
    """A subscriber that has a twin in C, which the data path in C calls without a call of Python."""

    def native(self, module: Any, clock: Callable[[], int] | None, fail: Callable[[Exception], None]) -> Tracer:
        """Make the tracer; ``module`` is ``iscsitools.datapath._native``, ``fail`` as in :class:`DirectSubscriber`.

        ``clock``: for events that it gets one by one; None: CLOCK_MONOTONIC.
        """


@runtime_checkable
class ThreadedSubscriber(Protocol):
    """A subscriber in C into which data threads may fire, too, while they have connections."""

    def of_thread(self, number: int) -> Tracer | None:
        """The tracer of a data thread, after :meth:`NativeSubscriber.native` was called; None: there is none now."""


AnySubscriber = Subscriber | DirectSubscriber | NativeSubscriber
