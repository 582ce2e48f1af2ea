"""The server's own count of commands under way: by unit, and back at nothing whatever ended them."""

from __future__ import annotations

import time
from collections import Counter

from support.target import RunningTarget

from iscsitools.initiator import NO_TAG, Opcode, Session, make_bhs
from iscsitools.trace import WatchedServer

from .commands import watch_socket
from .rules import HUNDRED, QUICK, SLOW, TARGET, settled
from .work import read10, write10

PATIENCE = 30


def under_way(target: RunningTarget) -> dict[int, int]:
    """Commands by LUN, of all connections."""
    with WatchedServer(socket=watch_socket(target)) as server:
        counts: Counter[int] = Counter()
        for entry in server.status()["in_flight"]:
            assert entry["target"] == TARGET
            counts[entry["lun"]] += entry["commands"]
        return dict(counts)


def settles(target: RunningTarget, expected: dict[int, int]) -> None:
    """The end of a connection takes the server a moment."""
    end = time.monotonic() + PATIENCE
    while under_way(target) != expected:
        assert time.monotonic() < end, under_way(target)


def open_writes(session: Session, *luns: int) -> list[int]:
    """Writes whose data the target has asked for and does not get; their tags."""
    tags = []
    for lun in luns:
        task = session.start_command(
            write10(0, 100), lun, write=bytes(HUNDRED), immediate=False, unsolicited=False, hold_r2ts=True
        )
        session.until(lambda pdu: pdu.opcode == Opcode.R2T)
        tags.append(task.itt)
    return tags


def test_it_goes_up_and_down(target: RunningTarget) -> None:
    with settled(target) as session:
        assert under_way(target) == {}
        first, second, _ = open_writes(session, QUICK, QUICK, SLOW)
        reads = [session.start_command(read10(n, 8), SLOW, read=4096) for n in range(3)]
        session.nop()  # all of them have arrived
        counts = under_way(target)
        assert counts[QUICK] == 2
        assert 1 <= counts[SLOW] <= 4  # the reads end by themselves
        assert session.manage(1, QUICK, rtt=first).response == 0
        assert under_way(target)[QUICK] == 1
        for read in reads:
            session.wait(read)
        assert under_way(target) == {QUICK: 1, SLOW: 1}
        assert session.manage(1, QUICK, rtt=second).response == 0
        assert under_way(target) == {SLOW: 1}
        assert session.manage(5, SLOW).response == 0
        assert under_way(target) == {}
        session.command(bytes(6), SLOW)  # the reset's unit attention
        open_writes(session, SLOW, QUICK)
        session.logout()
        settles(target, {})


def test_a_refused_write_counts_until_it_is_answered(target: RunningTarget) -> None:
    """Its response waits for the end of its unsolicited data (RFC 7143 11.4.2), or for an abort."""

    def without_end(fields: dict[str, int]) -> None:
        fields["flags"] = 0

    how = {"immediate": False, "unsolicited": True, "edtl": 2048, "alter": without_end}
    with settled(target) as session:
        tasks = [session.start_command(write10(0x7FFFFFF0, 4), QUICK, write=bytes(1024), **how) for _ in range(3)]
        session.nop()
        assert under_way(target) == {QUICK: 3}
        end = {"itt": tasks[0].itt, "ttt": NO_TAG, "data_sn": 1, "buffer_offset": 1024, "flags": 0x80}
        session.wire.send(make_bhs(Opcode.DATA_OUT, **end), data=bytes(1024))
        assert session.wait(tasks[0]).sense_code == (5, 0x21, 0)
        assert under_way(target) == {QUICK: 2}
        assert session.manage(1, QUICK, rtt=tasks[1].itt).response == 0
        assert under_way(target) == {QUICK: 1}
    settles(target, {})


def test_nothing_is_left_of_connections_that_were_lost(target: RunningTarget) -> None:
    for _ in range(3):
        session = settled(target)
        open_writes(session, QUICK, SLOW)
        assert under_way(target) == {QUICK: 1, SLOW: 1}
        for n in range(4):
            session.start_command(read10(n, 8), SLOW, read=4096)
        session.nop()  # they are in the backstore, or were
        session.close()
        settles(target, {})


def test_a_session_that_is_reinstated_takes_its_commands_along(target: RunningTarget) -> None:
    with settled(target) as old:
        open_writes(old, QUICK, SLOW)
        with settled(target):
            settles(target, {})
