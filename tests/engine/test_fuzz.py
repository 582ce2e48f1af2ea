"""Any bytes, in any pieces: no exception, bounded memory, and answers that do not depend on how the bytes arrive.

Nor do they depend on whether somebody watches the probes.

Every stream comes from a seed, so a failure can be had again: its number is in the test's name.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from iscsitools.iscsi.connection.memory import RECEIVE_SIZE
from iscsitools.iscsi.connection.output import OUTPUT_LIMIT
from iscsitools.iscsi.login.policy import AuthPolicy, TargetNode
from iscsitools.probes.table import Probe
from iscsitools.scsi.core.options import MAX_TRANSFER

from . import fuzz
from .harness import IQN, ManualExecutor, Target, Wire

WHOLE, BYTE_BY_BYTE = 0, 1
WAYS = ((WHOLE, False), (BYTE_BY_BYTE, False), (47, False), (700, True), (WHOLE, True))
"""Bytes at a time, and whether every probe is watched."""


class Watcher:
    """Wants to know everything."""

    def __init__(self) -> None:
        self.seen = 0

    def on_pdu(self, *values: object) -> None:
        self.seen += 1

    def on_xfer(self, *values: object) -> None:
        self.seen += 1


@dataclass(frozen=True)
class Seen:
    """Everything that a stream did: its answers, why the connection ended, and the disk afterwards."""

    output: bytes
    reason: str
    exp_cmdsn: int
    disk: bytes


def feed(wire: Wire, data: bytes, piece: int) -> bytes:
    """Feed the bytes and take the output when the engine waits for that; returns the output."""
    conn, out = wire.conn, bytearray()
    at = 0
    while at < len(data) and not conn.close_reason:
        at += wire.put(data, at, piece)
        check_bounds(wire)
        while conn.stalled or conn.unfinished:
            out += drain(wire)
            conn.go_on(wire.target.now)
    return bytes(out)


def drain(wire: Wire) -> bytes:
    """All of the output."""
    out = bytearray()
    while pieces := wire.conn.output():
        data = b"".join(bytes(piece) for piece in pieces)
        out += data
        wire.conn.sent(len(data), wire.target.now)
    return bytes(out)


def check_bounds(wire: Wire) -> None:
    """What one connection may hold, whatever it is sent."""
    conn, session = wire.conn, wire.conn.session
    assert len(conn._stash) <= RECEIVE_SIZE
    assert conn.out.unsent() <= OUTPUT_LIMIT + MAX_TRANSFER
    waiting = [command for command in conn.commands.values() if command.waits]
    assert len(waiting) == conn.waiting
    assert not any(command.reserved or command.buffer for command in waiting)
    assert len(conn.commands) - conn.waiting <= wire.target.unit.tasks.depth
    if conn.text is not None:
        assert len(conn.text.received) <= 64 << 10
    if session is not None:
        assert len(session.held) <= session.window
        assert conn.waiting <= session.window


def outcome(wire: Wire, stream: bytes, piece: int, watched: bool) -> Seen:
    """Feed a stream, let the calls that run return, lose the connection: nothing may stay of it."""
    target, conn, watcher = wire.target, wire.conn, Watcher()
    if watched:
        target.probes.subscribe((1 << len(Probe)) - 1, watcher)
    output = feed(wire, stream, piece)
    executor = target.executor
    while isinstance(executor, ManualExecutor) and executor.waiting:
        executor.run_one()
    output += drain(wire)
    exp_cmdsn = conn.session.exp_cmdsn if conn.session is not None else -1
    conn.closed()
    while isinstance(executor, ManualExecutor) and executor.waiting:
        executor.run_one()
    assert target.buffers.reserved == 0
    assert len(target.table) == 0
    assert not list(target.unit.tasks)
    assert not conn.commands
    assert conn.waiting == 0
    disk = bytearray(target.size)
    target.store.read_into(0, memoryview(disk))
    assert (watcher.seen > 0) == (watched and bool(output))
    return Seen(output, conn.close_reason, exp_cmdsn, bytes(disk))


@pytest.mark.parametrize("seed", range(60))
def test_login(seed: int) -> None:
    stream = fuzz.login_stream(random.Random(seed))
    found = []
    for way in WAYS:
        target = Target(size=1 << 20)
        policy = AuthPolicy(lambda _initiator, user: b"secret" if user == "u" else None)
        if seed % 3 == 0:
            target.directory.add(TargetNode(IQN, target.device, auth=policy))
        found.append(outcome(target.connect(), stream, *way))
    assert all(each == found[0] for each in found)


def target(late: bool, slow: bool = False) -> Target:
    return Target(ManualExecutor(), slow=True) if late else Target(slow=slow)


@pytest.mark.parametrize("late", [False, True], ids=["at once", "late"])
@pytest.mark.parametrize("seed", range(12))
def test_full_feature(seed: int, late: bool) -> None:
    """The login's last request and what follows it are one stream: digests begin in the middle of it."""
    rng = random.Random(seed)
    keys = fuzz.keys(rng)
    wire = target(late).connect()
    wire.log_in(keys)
    stream = Wire(wire.target, wire.conn).login_request(keys) + fuzz.FullFeature(rng, wire).stream()
    found = [outcome(target(late).connect(), stream, *way) for way in WAYS]
    if not late:  # a disk without a fast path
        found.append(outcome(target(late, slow=True).connect(), stream, 700, False))
    assert all(each == found[0] for each in found)
