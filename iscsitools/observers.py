"""The probe events that plugins may watch, as copies, in threads of their own.

The event loop only puts a tuple into a queue. A queue is bounded; when it is full the event is dropped and counted. An
observer that raises is logged once, with its plugin's name, and gets nothing more.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

from iscsitools.probes.firing import Probes
from iscsitools.probes.subscribers import ConnectionInfo, Xfer
from iscsitools.probes.table import Info, Probe, info_of
from iscsitools.trace.events import ConnectionStrings, Event

log = logging.getLogger(__name__)

QUEUE_LENGTH: Final = 65536
"""Events that wait for one observer before further ones are dropped."""

_PAUSE: Final = 0.02
"""Seconds that a thread sleeps when it has delivered all: it is woken so often at the most."""
_CDB_KEPT: Final = 32
_STRINGS_KEPT: Final = 1024


@runtime_checkable
class Observer(Protocol):
    """What ``observe_probes`` returns."""

    probes: Iterable[Probe]
    """The probes whose events it wants: a tuple, list or set, read when the server starts."""

    def on_event(self, event: Event) -> None:
        """Get one event. ``event.sequence`` counts from 1 for each observer; a gap is what was dropped."""


def mask_of(observer: Observer) -> int:
    """The probes that an observer wants, as bits. Raises TypeError for what is no probe."""
    mask = 0
    for probe in observer.probes:
        if not isinstance(probe, Probe):
            raise TypeError(f"{probe!r} in probes of {observer!r} is no iscsitools.probes.table.Probe")
        mask |= 1 << probe
    return mask


class _Raw(NamedTuple):
    """An event as the loop leaves it; what takes time is done by the observer's thread."""

    sequence: int
    now: int
    probe: int
    strings: ConnectionStrings
    lun: int
    bhs: bytes
    cdb: bytes
    sense: int
    xfer: Xfer | None

    def event(self) -> Event:
        probe = Probe(self.probe)
        if self.xfer is not None:
            info = Info(self.lun, self.xfer.itt, self.xfer.ttt, 0, 0, 0, 0, 0)
        else:
            info = info_of(probe, self.bhs, self.lun)
        cdb = self.cdb[:_CDB_KEPT]
        return Event(
            self.sequence, self.now, probe, self.strings, info, cdb, len(self.cdb), self.bhs, self.sense, self.xfer
        )


class Worker:
    """A daemon thread that hands the items of a bounded queue to ``deliver``, in order."""

    def __init__(self, name: str, limit: int, deliver: Callable[[Any], None]) -> None:
        self.dropped = 0
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._limit = limit
        self._deliver = deliver
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: object) -> None:
        """Queue an item, or count it as dropped."""
        if self._queue.qsize() >= self._limit:
            self.dropped += 1
        else:
            self._queue.put(item)

    def close(self, timeout: float) -> None:
        """Let what is queued be delivered, for ``timeout`` seconds at most."""
        self._queue.put(None)
        self._thread.join(timeout)

    def _run(self) -> None:
        """Deliver until None comes.

        When all was delivered the thread sleeps a moment: one that waits in ``get`` is woken by each single item, and
        takes the interpreter from the loop, which costs a login more than most of its own steps.
        """
        while True:
            item = self._queue.get()
            while item is not None:
                self._deliver(item)
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            if item is None:
                return
            time.sleep(_PAUSE)


class ObserverFeed:
    """One observer with its queue and thread; a :class:`iscsitools.probes.subscribers.Subscriber`.

    Made, closed and called on the loop's thread; only ``on_event`` runs in the observer's.
    """

    def __init__(self, observer: Observer, plugin: str, probes: Probes, limit: int = QUEUE_LENGTH) -> None:
        self.plugin = plugin
        self.failed = False
        """Whether the observer has raised and gets nothing more."""
        self._observer = observer
        self._probes = probes
        self._sequence = 0
        self._strings: dict[int, tuple[int, ConnectionStrings]] = {}
        self._worker = Worker(f"observer of {plugin}", limit, self._deliver)
        probes.subscribe(mask_of(observer), self)

    @property
    def dropped(self) -> int:
        """Events that found the queue full."""
        return self._worker.dropped

    def close(self, timeout: float = 1.0) -> None:
        """Detach, and let what is queued be delivered, for ``timeout`` seconds at most."""
        self._probes.subscribe(0, self)
        self._worker.close(timeout)

    def on_pdu(self, probe: int, now: int, conn: ConnectionInfo, lun: int, bhs: bytes, cdb: bytes, sense: int) -> None:
        """Queue a PDU's event."""
        self._put(now, probe, conn, lun, bhs, cdb, sense, None)

    def on_xfer(self, probe: int, now: int, conn: ConnectionInfo, lun: int, xfer: Xfer) -> None:
        """Queue a transfer's event."""
        self._put(now, probe, conn, lun, b"", b"", 0, xfer)

    def _put(self, now: int, probe: int, conn: ConnectionInfo, *rest: Any) -> None:
        if self.failed:
            self._probes.subscribe(0, self)
            return
        self._sequence += 1
        self._worker.put(_Raw(self._sequence, now, probe, self._strings_of(conn), *rest))

    def _strings_of(self, conn: ConnectionInfo) -> ConnectionStrings:
        known = self._strings.get(conn.ident)
        if known is not None and known[0] == conn.generation:
            return known[1]
        if len(self._strings) >= _STRINGS_KEPT:
            self._strings.clear()
        strings = ConnectionStrings(
            conn.ident, conn.local, conn.remote, conn.protocol, conn.target, conn.initiator, conn.isid, conn.tsih,
            conn.transport,
        )  # fmt: skip
        self._strings[conn.ident] = (conn.generation, strings)
        return strings

    def _deliver(self, raw: _Raw) -> None:
        if self.failed:
            return
        try:
            self._observer.on_event(raw.event())
        except BaseException:
            self.failed = True
            log.exception("plugin %s: its probe observer raised and is detached", self.plugin)
