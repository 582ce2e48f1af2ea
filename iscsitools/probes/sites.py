"""The call sites' side of the probes: one object per event loop that the engine tests and fires.

The form of every call site in the engine is::

    if mask & SCSI_COMMAND:                      # mask: probes.mask, read once per batch of received bytes
        probes.pdu(Probe.SCSI_COMMAND, info, lun, buffer, offset)

Nobody attached: one test of a local integer, no argument built. All probes fire on the event loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from iscsitools.probes.table import Probe

# One bit per event, as plain integers: an enum member costs an attribute look-up at each test.
LOGIN_COMMAND: Final = 1 << 0
LOGIN_RESPONSE: Final = 1 << 1
LOGOUT_COMMAND: Final = 1 << 2
LOGOUT_RESPONSE: Final = 1 << 3
TEXT_COMMAND: Final = 1 << 4
TEXT_RESPONSE: Final = 1 << 5
SCSI_COMMAND: Final = 1 << 6
SCSI_RESPONSE: Final = 1 << 7
DATA_SEND: Final = 1 << 8
DATA_RECEIVE: Final = 1 << 9
DATA_REQUEST: Final = 1 << 10
TASK_COMMAND: Final = 1 << 11
TASK_RESPONSE: Final = 1 << 12
NOP_RECEIVE: Final = 1 << 13
NOP_SEND: Final = 1 << 14
ASYNC_SEND: Final = 1 << 15
XFER_START: Final = 1 << 16
XFER_DONE: Final = 1 << 17
REJECT_SEND: Final = 1 << 18
SNACK_RECEIVE: Final = 1 << 19

XFER_READ: Final = 0  # target to initiator
XFER_WRITE: Final = 1


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


class Subscriber(Protocol):
    """Gets every event of the probes in its mask, on the loop's thread, in the order in which they fired.

    It must be quick and must not raise; one that raises is detached.
    """

    def on_pdu(
        self, probe: int, now: int, conn: ConnectionInfo, lun: int, bhs: bytes, cdb: bytes, sense: int
    ) -> None:
        """A PDU was received or goes out.

        ``now``: nanoseconds. ``bhs``: its 48 bytes. ``cdb``: the CDB (scsi-command only, else ``b""``), of its true
        length. ``sense``: key << 16 | ASC << 8 | ASCQ of the status that this PDU carries, else 0.
        """

    def on_xfer(self, probe: int, now: int, conn: ConnectionInfo, lun: int, xfer: Xfer) -> None:
        """A transfer begins or has ended."""


class Probes:
    """Who listens to which probe, and the two calls that fire one. ``clock`` gives nanoseconds."""

    __slots__ = ("_clock", "_failed", "_subscribers", "mask")

    def __init__(
        self,
        clock: Callable[[], int],
        failed: Callable[[Subscriber, Exception], None] | None = None,
    ) -> None:
        self.mask = 0
        self._clock = clock
        self._failed = failed
        self._subscribers: tuple[tuple[int, Subscriber], ...] = ()

    def subscribe(self, mask: int, subscriber: Subscriber) -> None:
        """Give ``subscriber`` the events of ``mask`` (bits as above); a second call changes its mask, 0 ends it."""
        kept = [(m, s) for m, s in self._subscribers if s is not subscriber]
        if mask:
            kept.append((mask, subscriber))
        self._subscribers = tuple(kept)
        self.mask = 0
        for m, _ in kept:
            self.mask |= m

    def pdu(
        self,
        probe: int,
        conn: ConnectionInfo,
        lun: int,
        buffer: bytes | bytearray | memoryview,
        offset: int = 0,
        cdb: bytes = b"",
        sense: int = 0,
    ) -> None:
        """Fire a PDU's probe; its BHS begins at ``offset`` of ``buffer`` and is copied."""
        now = self._clock()
        bhs = bytes(buffer[offset : offset + 48])
        for mask, subscriber in self._subscribers:
            if mask >> probe & 1:
                try:
                    subscriber.on_pdu(probe, now, conn, lun, bhs, cdb, sense)
                except Exception as error:
                    self._detach(subscriber, error)

    def xfer(
        self, probe: Probe, conn: ConnectionInfo, lun: int, itt: int, ttt: int, laddr: int, loffset: int,
        length: int, kind: int,
    ) -> None:  # fmt: skip
        """Fire xfer-start or xfer-done. ``kind`` is XFER_READ or XFER_WRITE; ``length`` in bytes."""
        now = self._clock()
        event = Xfer(itt, ttt, laddr, loffset, length, kind)
        for mask, subscriber in self._subscribers:
            if mask >> probe & 1:
                try:
                    subscriber.on_xfer(probe, now, conn, lun, event)
                except Exception as error:
                    self._detach(subscriber, error)

    def _detach(self, subscriber: Subscriber, error: Exception) -> None:
        self.subscribe(0, subscriber)
        if self._failed is not None:
            self._failed(subscriber, error)
