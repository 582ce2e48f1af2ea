"""A small event loop in a thread, with a trace server on it, and PDU headers to fire probes with."""

from __future__ import annotations

import heapq
import itertools
import os
import queue
import selectors
import struct
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from iscsitools.probes.firing import Probes
from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.probes.table import Probe
from iscsitools.trace.feed import TraceServer
from iscsitools.trace.protocol import ReaderLimits

READ10 = bytes.fromhex("28000000100000000800") + bytes(6)
WRITE10 = bytes.fromhex("2a000000100000000800") + bytes(6)
SECONDS = 60.0
"""How long a test waits for what has to come: as long as a loaded machine may take."""


def add_to_log(
    probes: Probes, conn: ConnectionInfo, lun: int, operation: int, itt: int, size: int,
    lba: int = 0, blocks: int = 0, expected: int = 0, statsn: int = 0,
) -> None:  # fmt: skip
    """Answer one command as the engine's fast path does for a reader who has a log."""
    assert probes.log is not None
    assert probes.logged is not None
    began = probes.clock()
    log = probes.log(conn)
    if log is not None:
        log[0].append(probes.clock())
        log[1].extend(logged_bhs(lun, operation, itt, size, lba, blocks, expected))
        probes.logged(began, statsn, itt if operation & 0x1F00 == 0x0800 else 0xFFFFFFFF)


def logged_bhs(
    lun: int, operation: int, itt: int, size: int, lba: int = 0, blocks: int = 0, expected: int = 0
) -> bytes:
    """The BHS of a READ or WRITE with a CDB of 10 or 16 bytes; ``operation``: its first two."""
    layout = ">HIxHx" if operation < 0x8000 else ">HQIxx"
    cdb = struct.pack(layout, operation, lba, blocks)
    request = bytearray(bhs(1, 0xC0, itt, word20=size, numbers=(itt, expected, 0, 0, 0, 0), cdb=cdb))
    request[8:16] = (lun << 48).to_bytes(8, "big")
    return bytes(request)


class TinyLoop:
    """The interface of ``trace.server.Loop`` over a selector."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def _set(self, fd: int, event: int, callback: Callable[[], None] | None) -> None:
        known = self.selector.get_map().get(fd)
        wanted = dict(known.data) if known else {}
        wanted.pop(event, None)
        if callback:
            wanted[event] = callback
        mask = sum(wanted)
        if known and mask:
            self.selector.modify(fd, mask, wanted)
        elif known:
            self.selector.unregister(fd)
        elif mask:
            self.selector.register(fd, mask, wanted)

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        self._set(fd, selectors.EVENT_READ, callback)

    def remove_reader(self, fd: int) -> None:
        self._set(fd, selectors.EVENT_READ, None)

    def add_writer(self, fd: int, callback: Callable[[], None]) -> None:
        self._set(fd, selectors.EVENT_WRITE, callback)

    def remove_writer(self, fd: int) -> None:
        self._set(fd, selectors.EVENT_WRITE, None)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        heapq.heappush(self.timers, (time.monotonic() + seconds, next(self._order), callback))

    def once(self) -> None:
        """Wait for something to do, and do it."""
        timeout = max(0.0, self.timers[0][0] - time.monotonic()) if self.timers else None
        for key, events in self.selector.select(timeout):
            for event in (selectors.EVENT_READ, selectors.EVENT_WRITE):
                callback = key.data.get(event) if events & event else None
                current = self.selector.get_map().get(key.fd)
                if callback and current is not None and event in current.data:
                    callback()
        now = time.monotonic()
        due = []
        while self.timers and self.timers[0][0] <= now:
            due.append(heapq.heappop(self.timers)[2])
        for callback in due:
            callback()


class Host:
    """A trace server on a loop in a thread. ``call`` runs a function there and returns what it returns."""

    def __init__(
        self,
        directory: Path,
        name: str = "test",
        limits: ReaderLimits | None = None,
        state: Any = None,
        clock: Callable[[], int] = time.monotonic_ns,
        group: int | None = None,
        tracers: Any = None,
    ) -> None:
        self.failures: list[Exception] = []
        self.probes = Probes(clock, lambda subscriber, error: self.failures.append(error), tracers)
        self.server = TraceServer(self.probes, name, directory, group, limits=limits, state=state, clock=clock)
        self.loop = TinyLoop()
        self.server.register(self.loop)
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake, self._wake_writer = os.pipe()
        self.loop.add_reader(self._wake, self._run_calls)
        self._stopping = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def watch(self) -> Path:
        return self.server.paths.watch

    @property
    def control(self) -> Path:
        return self.server.paths.control

    def call(self, function: Callable[[], Any]) -> Any:
        results: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

        def run() -> None:
            try:
                results.put((function(), None))
            except BaseException as error:
                results.put((None, error))

        self._calls.put(run)
        os.write(self._wake_writer, b"x")
        value, error = results.get(timeout=SECONDS)
        if error is not None:
            raise error
        return value

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Let the loop turn until the condition holds; a test whose condition never does fails after a minute."""
        end = time.monotonic() + SECONDS
        while not self.call(condition):
            assert time.monotonic() < end, "the condition was never met"

    def close(self) -> None:
        def stop() -> None:
            self.server.close()
            self._stopping = True

        if self._thread.is_alive():
            self.call(stop)
            self._thread.join()
            self.loop.selector.close()
            os.close(self._wake)
            os.close(self._wake_writer)

    def _run_calls(self) -> None:
        os.read(self._wake, 4096)
        while not self._calls.empty():
            self._calls.get()()

    def _run(self) -> None:
        while not self._stopping:
            self.loop.once()


def connection(
    ident: int = 1, client: str = "192.0.2.7:50000", target: str = "iqn.2026-11.example:a"
) -> ConnectionInfo:
    return ConnectionInfo(
        ident,
        local="192.0.2.1:3260",
        remote=client,
        target=target,
        initiator=f"iqn.2026-11.example:host{ident}",
        isid="00023d000001",
        tsih=f"0x{ident:04x}",
    )


_BHS = struct.Struct(">BBBBBBHQIIIIIIII")


def bhs(
    opcode: int,
    flags: int = 0x80,
    itt: int = 1,
    length: int = 0,
    byte2: int = 0,
    status: int = 0,
    word20: int = 0xFFFFFFFF,
    numbers: Iterable[int] = (11, 22, 33, 44, 55, 66),
    cdb: bytes = b"",
) -> bytes:
    """48 bytes of a PDU; ``numbers`` are the words from byte 24 on."""
    words = list(numbers)
    if cdb:
        words[2:] = struct.unpack(">4I", cdb[:16].ljust(16, b"\0"))
    return _BHS.pack(opcode, flags, byte2, status, 0, length >> 16, length & 0xFFFF, 0, itt, word20, *words)


def fire_read(probes: Probes, conn: ConnectionInfo, itt: int = 1, lun: int = 0, size: int = 4096) -> None:
    """The four events of a read that one Data-In with status answers."""
    command = bhs(0x01, 0xC0, itt, word20=size, cdb=READ10)
    probes.pdu(Probe.SCSI_COMMAND, conn, lun, command, 0, READ10[:10])
    probes.xfer(Probe.XFER_START, conn, lun, itt, 0xFFFFFFFF, 4096, 0, size, 0)
    probes.pdu(Probe.DATA_SEND, conn, lun, bhs(0x25, 0x81, itt, size))
    probes.xfer(Probe.XFER_DONE, conn, lun, itt, 0xFFFFFFFF, 4096, 0, size, 0)


def fire_write(probes: Probes, conn: ConnectionInfo, itt: int = 1, lun: int = 0, size: int = 4096) -> None:
    """A write: half of it immediate, half of it after an R2T."""
    half = size // 2
    probes.pdu(Probe.SCSI_COMMAND, conn, lun, bhs(0x01, 0xA0, itt, half, word20=size, cdb=WRITE10), 0, WRITE10[:10])
    probes.xfer(Probe.XFER_START, conn, lun, itt, 0xFFFFFFFF, 4096, 0, half, 1)
    probes.xfer(Probe.XFER_DONE, conn, lun, itt, 0xFFFFFFFF, 4096, 0, half, 1)
    probes.xfer(Probe.XFER_START, conn, lun, itt, 7, 4096, half, half, 1)
    probes.pdu(Probe.DATA_REQUEST, conn, lun, bhs(0x31, 0x80, itt, word20=7))
    probes.pdu(Probe.DATA_RECEIVE, conn, lun, bhs(0x05, 0x80, itt, half, word20=7))
    probes.xfer(Probe.XFER_DONE, conn, lun, itt, 7, 4096, half, half, 1)
    probes.pdu(Probe.SCSI_RESPONSE, conn, lun, bhs(0x21, 0x80, itt))
