"""The 32-bit numbers go round their end while commands are served many at a time (RFC 7143 4.2.2)."""

from __future__ import annotations

import pytest

from iscsitools.initiator import Opcode, make_bhs

from .harness import Target, Wire, read10, write10

MASK = 0xFFFFFFFF
LAST_FAST = MASK - 5461  # the loop hands over from here on, see connection._SERIAL_LIMIT
KEYS = {"FirstBurstLength": "65536", "ImmediateData": "Yes", "InitialR2T": "No"}


def load(wire: Wire, count: int) -> list[tuple[bytes, bytes]]:
    """Reads and writes, short and long, as (request, what it reads)."""
    found = []
    for number in range(count):
        lba, data = number % 7 * 64, bytes([number % 251]) * (512 if number % 3 else 16384)
        found.append((wire.request(write10(lba, len(data) // 512), write=data), b""))
        found.append((wire.request(read10(lba, len(data) // 512), read=len(data)), data))
    return found


@pytest.mark.parametrize("before", [1, 3, 20])
@pytest.mark.parametrize("piece", [0, 5000])
@pytest.mark.parametrize("around", [MASK, LAST_FAST, LAST_FAST + 127])
def test_cmdsn_and_maxcmdsn(before: int, piece: int, around: int) -> None:
    target = Target()
    wire = target.connect()
    first = wire.cmd_sn = around - before
    wire.log_in(KEYS)
    wire.command(bytes(6))
    work = load(wire, 40)
    wire.feed(b"".join(request for request, _ in work), piece)
    answers = [p for p in wire.receive() if p.opcode == Opcode.SCSI_RESPONSE or p.flags & 1]
    assert [p.exp_cmd_sn for p in answers] == [(first + n + 2) & MASK for n in range(80)]
    assert [p.max_cmd_sn for p in answers] == [(first + n + 2 + 127) & MASK for n in range(80)]
    assert [p.data for p in answers] == [
        data[-len(p.data) :] if p.data else b"" for p, (_, data) in zip(answers, work, strict=True)
    ]


@pytest.mark.parametrize("around", [1000, MASK, LAST_FAST])
def test_a_session_counts_its_scsi_commands(around: int) -> None:
    """By the fast path and by the other, across CmdSN's end; immediate ones, without a CmdSN of their own; no pings."""
    target = Target()
    wire = target.connect()
    wire.cmd_sn = around - 20
    wire.log_in(KEYS)
    wire.command(bytes(6))
    wire.feed(b"".join(request for request, _ in load(wire, 40)))
    for number in range(3):
        turn = wire.cmd_sn
        wire.feed(wire.request(bytes(6), immediate=True))
        ping = make_bhs(Opcode.NOP_OUT, flags=0x80, itt=500 + number, ttt=MASK, cmd_sn=turn)
        wire.feed(wire.seal(ping))
        wire.cmd_sn = (turn + 1) & MASK
    assert len([p for p in wire.receive() if p.opcode == Opcode.NOP_IN]) == 3
    assert wire.conn.session is not None
    assert wire.conn.session.commands == 1 + 80 + 3


@pytest.mark.parametrize("before", [1, 3, 20])
@pytest.mark.parametrize("around", [MASK, LAST_FAST])
def test_statsn(before: int, around: int) -> None:
    wire = Target().session(KEYS)
    first = wire.conn.path.statsn = around - before
    work = load(wire, 40)
    wire.feed(b"".join(request for request, _ in work))
    answers = [p for p in wire.receive() if p.opcode == Opcode.SCSI_RESPONSE or p.flags & 1]
    assert [p.stat_sn for p in answers] == [(first + n) & MASK for n in range(80)]


def test_many_lengths_and_back() -> None:
    """More forms of commands than are remembered."""
    wire = Target().session(KEYS)
    for _ in range(2):
        for blocks in range(1, 100):
            data = bytes([blocks]) * 512 * blocks
            (answer,) = wire.command(write10(blocks, blocks), write=data)
            assert answer.status == 0
            back = wire.command(read10(blocks, blocks), read=len(data))
            assert b"".join(p.data for p in back) == data
