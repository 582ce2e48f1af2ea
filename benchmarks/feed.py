"""Feed the engine alone, without sockets, with a recorded stream; ``instructions.py`` runs this under callgrind.

usage: feed.py PACKAGES DATA_PATH learn STREAM...
       feed.py PACKAGES DATA_PATH count PROVIDER LIBRARY (STREAM PIECES BYTES)...

``PACKAGES`` is the directory that holds the iscsitools package to measure, ``STREAM`` a file of ``stream.record``.
``learn`` fills in the Target Transfer Tags of a stream's Data-Outs, which only the engine knows. ``count`` has the
instructions counted that all but the first ``PIECES`` take, and checks that there are ``BYTES`` of answers at least.
``DATA_PATH`` is what ``serve --data-path`` takes. ``PROVIDER`` is what ``serve --provider`` takes: it is asked at each
readable event which probes are enabled; or ``sums`` (``all-sums``): nothing is asked, and sums are kept (with all
histograms); or ``record``: all events are written to a ring. ``LIBRARY`` is ``load/counting.c``. Nothing here is done
for an I/O but the engine's own work.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, sys.argv[1])

from iscsitools.backstores.null import NullBackstore
from iscsitools.iscsi.connection.connection import Connection
from iscsitools.iscsi.connection.memory import Buffers
from iscsitools.iscsi.connection.timers import Timers
from iscsitools.iscsi.login.parameters import NegotiationLimits
from iscsitools.iscsi.login.phase import LoginHooks, LoginPhase
from iscsitools.iscsi.login.policy import Directory, Portal, TargetNode
from iscsitools.iscsi.requests.dispatch import Dispatcher
from iscsitools.iscsi.session.table import SessionTable
from iscsitools.probes.firing import Probes
from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.provider.backend import choose
from iscsitools.provider.subscriber import ProviderSubscriber
from iscsitools.scsi.commands import DISK
from iscsitools.scsi.core.device import ScsiDevice
from iscsitools.scsi.core.executor import InlineExecutor
from iscsitools.scsi.core.options import UnitOptions
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.server.data_path import choose as choose_data_path
from iscsitools.server.data_path import tracers_of
from iscsitools.trace.feed.ring import RingSink
from iscsitools.trace.selection import Selection
from iscsitools.trace.sums.declared import HISTOGRAMS
from iscsitools.trace.sums.native import make_sums

TARGET = "iqn.2026-11.example:engine"
TO_FILL = 1 << 31
SCSI_RESPONSE, DATA_IN, LOGOUT_RESPONSE, R2T = 0x21, 0x25, 0x26, 0x31
SUMS = {"sums": (), "all-sums": HISTOGRAMS}
RECORDS = 1 << 17
"""More than there are of one stream: nobody reads them."""
LEARNING = sys.argv[3] == "learn"
DATA_PATH, _ = choose_data_path(sys.argv[2])


def nothing(*_: object) -> None:
    """For hooks that nobody waits for."""


class Engine:
    """A target with a null disk, and one connection at a time in front of it."""

    def __init__(self, provider: str) -> None:
        store = NullBackstore("1G")
        store.open()
        device = ScsiDevice(TARGET, DISK)
        unit = LogicalUnit(0, store, InlineExecutor(), UnitOptions(target=TARGET), DISK)
        device.add_unit(unit)
        directory = Directory([Portal("127.0.0.1", 3260)])
        directory.add(TargetNode(TARGET, device))
        hooks = LoginHooks(os.urandom, nothing, nothing, nothing, nothing)
        login = LoginPhase(directory, NegotiationLimits(), SessionTable(), 128, hooks)
        self.dispatcher = Dispatcher(login)
        watched = provider in SUMS or provider == "record"
        self.probes = Probes(time.monotonic_ns if watched else lambda: 0)
        if watched:
            if (module := tracers_of(DATA_PATH)) is not None:
                self.probes.use_tracers(module, monotonic=True)
            if provider == "record":
                self.ring = RingSink(Selection(), RECORDS, bool, bool, nothing)
                self.probes.subscribe(self.ring.selection.mask, self.ring)
            else:
                sums = make_sums(self.probes, Selection(), SUMS[provider])
                self.probes.subscribe(sums.mask, sums)
            provider = "none"
        self.buffers = Buffers()
        backend = choose(provider)
        if provider != "none" and not backend.names:
            sys.exit(f"there is no provider here: {' '.join(backend.warnings)}")
        self.provider = ProviderSubscriber(self.probes, backend)
        self.connection = self.connect()

    def connect(self) -> Connection:
        """A new connection."""
        info = ConnectionInfo(1, "127.0.0.1:3260", "127.0.0.1:50000")
        return Connection(info, self.buffers, self.probes, self.dispatcher, 0, Timers(), nothing, DATA_PATH)

    def end_connection(self) -> None:
        """The initiator has closed it."""
        self.connection.close("closed")
        self.connection.closed()
        self.connection = self.connect()

    def feed(self, data: memoryview) -> list[bytes | memoryview]:
        """Bytes that have arrived, as many at a time as the engine takes; returns all answers."""
        answers: list[bytes | memoryview] = []
        while len(data):
            count = 0
            for buffer in self.connection.get_buffers():
                size = min(len(buffer), len(data) - count)
                buffer[:size] = data[count : count + size]
                count += size
            data = data[count:]
            self.connection.received(count, 0)
            self.drain(answers)
        self.provider.poll()
        return answers

    def drain(self, answers: list[bytes | memoryview]) -> None:
        """Take all output, as a socket would that is never full."""
        connection = self.connection
        while connection.out.unsent() or connection.stalled or connection.unfinished:
            pieces = connection.output()
            count = sum(map(len, pieces))
            if LEARNING:
                answers += [bytes(piece) for piece in pieces]
            else:
                answers += pieces
            connection.sent(count, 0)
            if connection.unfinished:
                connection.go_on(0)
            elif connection.stalled and not connection.out.unsent():
                connection.resume(0)


def pieces_of(recorded: memoryview) -> Iterator[tuple[bool, memoryview]]:
    """The pieces, and whether each is Data-Outs whose tags are to be filled in."""
    position = 0
    while position < len(recorded):
        begin = position + 4
        word = int.from_bytes(recorded[position:begin], "big")
        position = begin + (word & ~TO_FILL)
        yield bool(word & TO_FILL), recorded[begin:position]


def count(recorded: memoryview, before: int, provider: str, library: ctypes.CDLL) -> int:
    """Feed all pieces, counting instructions behind the first ones; returns the bytes of all answers."""
    engine = Engine(provider)
    answered = 0
    answers: list[bytes | memoryview] = []
    for number, (_, piece) in enumerate(pieces_of(recorded)):
        if number == before:
            library.start_counting()
        if len(piece):
            answers = engine.feed(piece)
            answered += sum(map(len, answers))
        else:
            engine.end_connection()
    library.stop_counting()
    check(b"".join(answers)[:48])
    if engine.connection.close_reason:
        sys.exit(f"the engine closed the connection: {engine.connection.close_reason}")
    return answered


def check(header: bytes) -> None:
    """The first answer to the last piece says that all is well (response and status, RFC 7143 11.4, 11.7, 11.15)."""
    if header[0] & 0x3F not in (SCSI_RESPONSE, DATA_IN, LOGOUT_RESPONSE) or header[2] or header[3]:
        sys.exit(f"not what a good command is answered with: {header.hex()}")


def tags_of(answers: bytes) -> Iterator[tuple[bytes, bytes]]:
    """ITT and TTT of each R2T in a run of answers without digests (RFC 7143 11.8)."""
    position = 0
    while position < len(answers):
        header = answers[position : position + 48]
        if header[0] & 0x3F == R2T:
            yield header[16:20], header[20:24]
        position += 48 + (int.from_bytes(header[5:8], "big") + 3 & ~3)


def fill(piece: memoryview, tags: dict[bytes, bytes]) -> None:
    """Give the Data-Outs of a piece the tags of the R2Ts that they answer."""
    position = 0
    while position < len(piece):
        piece[position + 20 : position + 24] = tags[bytes(piece[position + 16 : position + 20])]
        position += 48 + (int.from_bytes(piece[position + 5 : position + 8], "big") + 3 & ~3)


def learn(path: Path) -> None:
    """Fill in the tags of a recording with those that this engine chooses, in place."""
    recorded = memoryview(bytearray(path.read_bytes()))
    engine = Engine("none")
    tags: dict[bytes, bytes] = {}
    for to_fill, piece in pieces_of(recorded):
        if to_fill:
            fill(piece, tags)
        tags.update(tags_of(b"".join(engine.feed(piece))))
    path.write_bytes(recorded)


def count_each(provider: str, library: ctypes.CDLL, streams: list[str]) -> None:
    """Count each stream in a process of its own, so that none finds what another one made of the interpreter's state.

    Prints each one's process id, which its callgrind file is named after.
    """
    for path, before, expected in zip(streams[::3], streams[1::3], streams[2::3], strict=True):
        child = os.fork()
        if not child:
            answered = count(memoryview(Path(path).read_bytes()), int(before), provider, library)
            if answered < int(expected):
                sys.exit(f"{answered} bytes of answers, expected {expected}")
            return
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        if status:
            sys.exit(os.waitstatus_to_exitcode(status))


def main() -> None:
    """Count streams, or learn their tags."""
    if LEARNING:
        for path in sys.argv[4:]:
            learn(Path(path))
        return
    count_each(sys.argv[4], ctypes.CDLL(sys.argv[5]), sys.argv[6:])


main()
