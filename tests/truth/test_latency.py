"""Time is shown where it was spent: a slow disk in the backstore, a slow reader in sending."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from support.target import RunningTarget, start_target

from iscsitools.initiator import Opcode, Session

from . import paths
from .commands import AllWatching, records, replay

TARGET = "iqn.2026-11.example:slow"
QUICK, DELAYED = 0, 1
DELAY = 5_000_000
"""Nanoseconds."""
READS, WRITES = 23, 19
COMMANDS = (
    ("rwlat", "--json", "--lun", str(QUICK)),
    ("rwlat", "--json", "--lun", str(DELAYED)),
    ("rwlat", "--json", "--phases"),
)
PHASES = ("backstore_ns", "waiting_ns", "sending_ns")


def work(target: RunningTarget) -> None:
    """Reads of one PDU and writes of each way, as many on both units."""
    with Session.connect(target.addresses[0], TARGET) as session:
        for lun in (QUICK, DELAYED):
            session.read_capacity(lun)
            for _ in range(READS):
                session.read(0, 8, lun)
            for number in range(WRITES):
                session.write(0, bytes(4096), lun, immediate=number % 3 == 0, unsolicited=number % 3 == 1)
        session.logout()


@pytest.fixture(scope="module", params=paths.NATIVE)
def path(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The options that choose who serves."""
    return paths.options(request)


@pytest.fixture(scope="module")
def printed(
    path: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> list[dict[tuple[str, ...], list[dict[str, Any]]]]:
    """The records of every command, live and out of a file."""
    directory = tmp_path_factory.mktemp("delay")
    file = directory / "trace"
    slow = f"{DELAYED}=ram+delay:1M,delay.read=5ms,delay.write=5ms"
    with start_target(directory, *path, "--iqn", TARGET, "--lun", f"{QUICK}=ram:1M", "--lun", slow) as target:
        watching = AllWatching(target, [*COMMANDS, ("record", "--output", str(file))])
        work(target)
        live = watching.end()
    return [
        {command: records(live[command]) for command in COMMANDS},
        {command: records(replay(file, *command)) for command in COMMANDS},
    ]


def test_rwlat_shows_the_delay_of_the_delayed_unit_alone(
    printed: list[dict[tuple[str, ...], list[dict[str, Any]]]],
) -> None:
    for found in printed:
        quick, delayed = ({r["event"]: r for r in found[command]} for command in COMMANDS[:2])
        for rows in (quick, delayed):
            # READ CAPACITY(16), once as a unit attention and once well, is a read too.
            assert (rows["read"]["count"], rows["write"]["count"]) == (READS + 1, WRITES)
        for event in ("read", "write"):
            assert delayed[event]["average_ns"] * delayed[event]["count"] >= (delayed[event]["count"] - 1) * DELAY
            assert delayed[event]["p50_ns"] >= DELAY * 7 // 8  # the histogram's buckets
            assert quick[event]["p50_ns"] < DELAY


def test_phases_put_the_delay_in_the_backstore(printed: list[dict[tuple[str, ...], list[dict[str, Any]]]]) -> None:
    for found in printed:
        rows = {(r["lun"], r["event"]): r for r in found[COMMANDS[2]]}
        for event, count in (("read", READS + 1), ("write", WRITES)):
            delayed, quick = rows[DELAYED, event], rows[QUICK, event]
            assert delayed["count"] == quick["count"] == count
            assert delayed["backstore_ns"] * count >= (count - 1) * DELAY
            assert max(PHASES, key=lambda name: delayed[name]) == "backstore_ns"
            assert quick["backstore_ns"] < DELAY


def test_phases_show_a_slow_reader_in_sending(path: tuple[str, ...], tmp_path: Path) -> None:
    idle, count, blocks = 0.5, 48, 512
    with start_target(tmp_path, *path, "--iqn", TARGET, "--lun", "ram:4M") as target:
        watching = AllWatching(target, [("rwlat", "--json", "--phases")])
        with Session.connect(target.addresses[0], TARGET) as session:
            session.read_capacity()
            session.wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            cdb = struct.pack(">BBQIBB", 0x88, 0, 0, blocks, 0, 0)
            tasks = [session.start_command(cdb, read=blocks * 512) for _ in range(count)]
            time.sleep(idle)  # not for an answer: this is the slow reader
            for task in tasks:
                assert session.wait(task).good
            session.logout()
        ((row),) = records(watching.end()[("rwlat", "--json", "--phases")])
    assert row["count"] == count + 1
    assert max(PHASES, key=lambda name: row[name]) == "sending_ns"
    assert row["sending_ns"] * row["count"] >= idle * 1e9


def test_phases_show_an_initiator_that_keeps_its_data_in_waiting(path: tuple[str, ...], tmp_path: Path) -> None:
    idle = 0.3
    with start_target(tmp_path, *path, "--iqn", TARGET, "--lun", "ram:4M") as target:
        watching = AllWatching(target, [("rwlat", "--json", "--phases")])
        with Session.connect(target.addresses[0], TARGET) as session:
            session.read_capacity()
            cdb = struct.pack(">BBQIBB", 0x8A, 0, 0, 128, 0, 0)
            task = session.start_command(
                cdb, write=bytes(65536), immediate=False, unsolicited=False, hold_r2ts=True
            )  # fmt: skip
            r2t = session.until(lambda pdu: pdu.opcode == Opcode.R2T)
            time.sleep(idle)  # the slow initiator
            task.hold_r2ts = False
            task.send_data(session.wire, 0, 65536, r2t.ttt, r2t.lun, 8192, session.exp_stat_sn)
            assert session.wait(task).good
            session.logout()
        rows = {r["event"]: r for r in records(watching.end()[("rwlat", "--json", "--phases")])}
    assert max(PHASES, key=lambda name: rows["write"][name]) == "waiting_ns"
    assert rows["write"]["waiting_ns"] >= idle * 1e9
