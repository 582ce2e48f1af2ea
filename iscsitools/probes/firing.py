"""The call sites' side of the probes: one object per event loop that the engine tests and fires.

The form of every call site in the engine is::

    if mask & SCSI_COMMAND:                      # mask: probes.mask, read once per batch of received bytes
        probes.pdu(Probe.SCSI_COMMAND, info, lun, buffer, offset)

Nobody attached: one test of a local integer, no argument built. Call sites in Python are on the event loop's thread.
Data threads fire the probes of the connections that they have into sets of their own (:attr:`Probes.of_threads`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

from iscsitools.probes.subscribers import (
    AnySubscriber,
    Buffer,
    Calls,
    ConnectionInfo,
    DirectSubscriber,
    LogCall,
    LoggedCall,
    NativeSubscriber,
    PduCall,
    ReadCall,
    SentCall,
    Subscriber,
    ThreadedSubscriber,
    Tracer,
    WriteCall,
    Xfer,
    XferCall,
)

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

FIRED_NOTHING: Final = 0
"""What has fired of a PDU: none of its probes; scsi-command; that, and xfer-start and xfer-done of its data."""
FIRED_COMMAND: Final = 1
FIRED_TRANSFER: Final = 2

XFER_READ: Final = 0  # target to initiator
XFER_WRITE: Final = 1


_BHS: Final = struct.Struct("48s").unpack_from  # half the time of bytes() over a slice of a memoryview


class Probes:
    """Who listens to which probe, and the two calls that fire one. ``clock`` gives nanoseconds.

    ``pdu`` and ``xfer`` change with the subscribers: call sites read them from here for each event, or at most keep
    them while one batch of received bytes is worked on. A subscriber's mask is tested only where there are several;
    one alone gets all events that call sites fire by ``mask``.

    ``read`` and ``write`` stand for all events of a command that the fast path answers, ``sent`` for the xfer-done
    events of all reads that were sent at once; they are None while somebody listens who has to see each event when it
    happens, or several do. Then the call site fires one by one. ``log`` is what a reader has in their place who wants
    numbers and no events.

    ``module``: ``iscsitools.datapath._native``, where that serves. Then subscribers that can be are tracers of it, and
    while all are, ``native`` is the set of them, which the data path fires into: each event when it happens, however
    many look.

    ``threads``: how many data threads there are. ``of_threads``: of each, the set that it fires into, while all that
    look can be fired into from there too; else None, and who looks sees what the loop's thread does.
    """

    __slots__ = (
        "_calls", "_failed", "_failing", "_module", "_monotonic", "clock", "log", "logged", "mask", "native",
        "of_threads", "pdu", "read", "sent", "threads", "when_changed", "write", "xfer",
    )  # fmt: skip

    mask: int
    pdu: PduCall
    """Fire a PDU's probe."""
    xfer: XferCall
    """Fire xfer-start or xfer-done."""
    read: ReadCall | None
    write: WriteCall | None
    sent: SentCall | None
    log: LogCall | None
    logged: LoggedCall | None
    native: Any
    of_threads: tuple[Any, ...] | None
    when_changed: Callable[[], None] | None
    """Called when somebody has subscribed, or does no more: threads have to leave the sets that they fire into."""

    def __init__(
        self,
        clock: Callable[[], int],
        failed: Callable[[AnySubscriber, Exception], None] | None = None,
        module: Any = None,
    ) -> None:
        self.clock = clock
        self._failed = failed
        self._failing = False
        self._module = module
        self._monotonic = False
        self.when_changed = None
        self.threads = 0
        self._calls: tuple[tuple[int, Calls, AnySubscriber, Tracer | None], ...] = ()
        self._bind()

    def use_tracers(self, module: Any, *, monotonic: bool = False) -> None:
        """From now on have who subscribes fired by ``module``, as at the beginning.

        ``monotonic``: the clock is CLOCK_MONOTONIC, which C reads by itself.
        """
        self._module = module
        self._monotonic = monotonic

    @property
    def has_tracers(self) -> bool:
        """Whether what subscribes may have a twin in C."""
        return self._module is not None

    def subscribe(self, mask: int, subscriber: AnySubscriber) -> None:
        """Give ``subscriber`` the events of ``mask`` (bits as above); a second call changes its mask, 0 ends it."""
        kept = [call for call in self._calls if call[2] is not subscriber]
        if mask:

            def fail(error: Exception) -> None:
                self._detach(subscriber, error)

            kept.append((mask, *self._calls_of(subscriber, fail)))
        self._calls = tuple(kept)
        self._bind()
        if self.when_changed is not None and not self._failing:
            self.when_changed()

    def _calls_of(
        self, subscriber: AnySubscriber, fail: Callable[[Exception], None]
    ) -> tuple[Calls, AnySubscriber, Tracer | None]:
        if self._module is not None and isinstance(subscriber, NativeSubscriber):
            tracer = subscriber.native(self._module, self._tracers_clock(), fail)
            return Calls(tracer.pdu, tracer.xfer), subscriber, tracer
        if isinstance(subscriber, DirectSubscriber):
            return subscriber.direct(self.clock, fail), subscriber, None
        assert isinstance(subscriber, Subscriber)
        return _adapt(subscriber, self.clock, fail), subscriber, None

    def _sets_of_threads(self) -> tuple[Any, ...] | None:
        """A set of tracers for each data thread, or None: not all that look have them, or not by this clock."""
        if not self._monotonic:
            return None
        sets = []
        for number in range(self.threads):
            members = []
            for mask, _, subscriber, _ in self._calls:
                tracer = subscriber.of_thread(number) if isinstance(subscriber, ThreadedSubscriber) else None
                if tracer is None:
                    return None
                members.append((mask, tracer))
            sets.append(self._module.Tracers(None, tuple(members)))
        return tuple(sets)

    def _tracers_clock(self) -> Callable[[], int] | None:
        """None: CLOCK_MONOTONIC."""
        return None if self._monotonic else self.clock

    def _bind(self) -> None:
        self.mask = 0
        self.of_threads = None
        for mask, *_ in self._calls:
            self.mask |= mask
        tracers = tuple((mask, tracer) for mask, _, _, tracer in self._calls if tracer is not None)
        if self._calls and len(tracers) == len(self._calls):
            self.native = self._module.Tracers(self._tracers_clock(), tracers)
            self.pdu, self.xfer, self.sent = self.native.pdu, self.native.xfer, self.native.sent
            self.read = self.write = self.log = self.logged = None
            self.of_threads = self._sets_of_threads()
            return
        self.native = None
        if len(self._calls) == 1 and not self._failing:
            self.pdu, self.xfer, self.read, self.write, self.sent, self.log, self.logged = self._calls[0][1]
        else:
            self.pdu, self.xfer = self._pdu_to_all, self._xfer_to_all
            self.read = self.write = self.sent = self.log = self.logged = None

    def _pdu_to_all(
        self,
        probe: int,
        conn: ConnectionInfo,
        lun: int,
        buffer: Buffer,
        offset: int = 0,
        cdb: bytes = b"",
        sense: int = 0,
    ) -> None:
        for mask, calls, *_ in self._calls:
            if mask >> probe & 1:
                calls.pdu(probe, conn, lun, buffer, offset, cdb, sense)

    def _xfer_to_all(
        self, probe: int, conn: ConnectionInfo, lun: int, itt: int, ttt: int, laddr: int, loffset: int,
        length: int, kind: int,
    ) -> None:  # fmt: skip
        for mask, calls, *_ in self._calls:
            if mask >> probe & 1:
                calls.xfer(probe, conn, lun, itt, ttt, laddr, loffset, length, kind)

    def _detach(self, subscriber: AnySubscriber, error: Exception) -> None:
        # Called while an event fires, maybe by a mask that is now too wide for who is left: go on testing masks.
        self._failing = True
        self.subscribe(0, subscriber)
        self._failing = False
        if self._failed is not None:
            self._failed(subscriber, error)


def _adapt(subscriber: Subscriber, clock: Callable[[], int], fail: Callable[[Exception], None]) -> Calls:
    """Make a plain subscriber's calls."""

    def pdu(
        probe: int,
        conn: ConnectionInfo,
        lun: int,
        buffer: Buffer,
        offset: int = 0,
        cdb: bytes = b"",
        sense: int = 0,
    ) -> None:
        try:
            subscriber.on_pdu(probe, clock(), conn, lun, _BHS(buffer, offset)[0], cdb, sense)
        except Exception as error:
            fail(error)

    def xfer(
        probe: int, conn: ConnectionInfo, lun: int, itt: int, ttt: int, laddr: int, loffset: int, length: int,
        kind: int,
    ) -> None:  # fmt: skip
        try:
            subscriber.on_xfer(probe, clock(), conn, lun, Xfer(itt, ttt, laddr, loffset, length, kind))
        except Exception as error:
            fail(error)

    return Calls(pdu, xfer)
