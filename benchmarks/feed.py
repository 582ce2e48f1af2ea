"""Feed the engine alone, without sockets, with a recorded stream; ``engine.py`` runs this under callgrind.

usage: feed.py PACKAGES STREAM BYTES PROVIDER

``PACKAGES`` is the directory that holds the iscsitools package to measure, ``STREAM`` a file of ``stream.record``,
``BYTES`` how many bytes of answers it has to get, ``PROVIDER`` what ``serve --provider`` takes: it is asked at each
readable event which probes are enabled. Nothing here is done for an I/O but the engine's own work.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])

from iscsitools.backstores.null import NullBackstore
from iscsitools.iscsi.connection.connection import Connection, Timers
from iscsitools.iscsi.connection.memory import Buffers
from iscsitools.iscsi.login.negotiation import NegotiationLimits
from iscsitools.iscsi.login.phase import LoginHooks, LoginPhase
from iscsitools.iscsi.login.policy import Directory, Portal, TargetNode
from iscsitools.iscsi.requests.dispatch import Dispatcher
from iscsitools.iscsi.session.table import SessionTable
from iscsitools.probes.sites import ConnectionInfo, Probes
from iscsitools.provider.backend import choose
from iscsitools.provider.subscriber import ProviderSubscriber
from iscsitools.scsi.commands import DISK
from iscsitools.scsi.core.device import ScsiDevice
from iscsitools.scsi.core.executor import InlineExecutor
from iscsitools.scsi.core.options import UnitOptions
from iscsitools.scsi.core.unit import LogicalUnit

TARGET = "iqn.2026-11.example:engine"


def nothing(*_: object) -> None:
    """For hooks that nobody waits for."""


def engine() -> Connection:
    """A connection in front of a null disk."""
    store = NullBackstore("1G")
    store.open()
    device = ScsiDevice(TARGET, DISK)
    unit = LogicalUnit(0, store, InlineExecutor(), UnitOptions(target=TARGET), DISK)
    device.add_unit(unit)
    directory = Directory([Portal("127.0.0.1", 3260)])
    directory.add(TargetNode(TARGET, device))
    hooks = LoginHooks(os.urandom, nothing, nothing, nothing, nothing)
    login = LoginPhase(directory, NegotiationLimits(), SessionTable(), 128, hooks)
    info = ConnectionInfo(1, "127.0.0.1:3260", "127.0.0.1:50000")
    probes = Probes(lambda: 0)
    return Connection(info, Buffers(), probes, Dispatcher(login), 0, Timers(), nothing)


def feed(connection: Connection, data: memoryview) -> int:
    """One readable event: the bytes in, all answers out; returns how many bytes those had."""
    buffer = connection.get_buffers()[0]
    buffer[: len(data)] = data
    connection.received(len(data), 0)
    sent = 0
    while connection.out.unsent():
        count = sum(map(len, connection.output()))
        connection.sent(count, 0)
        sent += count
    return sent


def main() -> None:
    """Feed all pieces and check that every command was answered, by the bytes of all answers."""
    recorded = memoryview(Path(sys.argv[2]).read_bytes())
    connection = engine()
    backend = choose(sys.argv[4])
    if sys.argv[4] != "none" and not backend.names:
        sys.exit(f"there is no provider here: {' '.join(backend.warnings)}")
    provider = ProviderSubscriber(connection.probes, backend)
    position = answered = 0
    while position < len(recorded):
        begin = position + 4
        position = begin + int.from_bytes(recorded[position:begin], "big")
        sent = feed(connection, recorded[begin:position])
        provider.poll()
        if connection.session is not None and connection.session.full_feature:
            answered += sent
    if connection.close_reason or answered < int(sys.argv[3]):
        sys.exit(f"{answered} bytes of answers, expected {sys.argv[3]} ({connection.close_reason or 'still open'})")


main()
