"""The same attack again and again: what it leaves behind is what its first round left, and no more."""

from __future__ import annotations

import contextlib
import gc
import platform
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from support.target import RunningTarget, start_target

from iscsitools.initiator import NO_TAG, LoginError, Opcode, Session, make_bhs
from iscsitools.scsi.core.task import Task

from .harness import IQN, TEST_UNIT_READY, descriptors, eventually, one_target, read10, running, write10

MIB = 1 << 20
SLACK = 8 * MIB
"""What rounds may differ in: where the heap ends, what of its small blocks is free."""
STOCK = 24 * MIB
"""What lies ready for the next I/O (iscsi.connection.memory); it becomes resident as it is first used."""
LUNS = ("ram:16M", "ram+delay:16M,delay.read=1us,delay.write=1us")
LIMITS = "max_connections = 1000\nmax_sessions = 1000\nmax_connections_per_address = 1000"


def memory(pid: int) -> int:
    """Resident bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def sessions(target: RunningTarget, count: int) -> list[Session]:
    """Of as many initiators, at both disks."""
    found = []
    for number in range(count):
        session = Session.connect(target.addresses[0], IQN, initiator=f"iqn.2026-11.example:bad{number}")
        for lun in (0, 1):
            session.command(TEST_UNIT_READY, lun)
        session.wire.sock.setblocking(False)
        found.append(session)
    return found


def flood(session: Session, pdus: list[bytes]) -> None:
    """As much of it as the socket takes."""
    with contextlib.suppress(OSError):
        session.wire.sock.send(b"".join(pdus))


def begun(session: Session, number: int, lun: int, blocks: int, cdb: bytes, flags: int, length: int = 0) -> bytes:
    """The header of a command whose CmdSN is ``number`` ahead of its turn."""
    return make_bhs(
        Opcode.SCSI_COMMAND, flags=flags, edtl=blocks * 512, itt=1000 + number, lun=lun << 48, cdb=cdb,
        cmd_sn=(session.cmd_sn + number) & 0xFFFFFFFF, data_length=length,
    )  # fmt: skip


def reads_nothing(target: RunningTarget) -> list[Session]:
    found = sessions(target, 24)
    for session in found:
        flood(session, [begun(session, n, 0, 1024, read10(0, 1024), 0xC1) for n in range(60)])
    return found


def reads_nothing_by_threads(target: RunningTarget) -> list[Session]:
    found = sessions(target, 24)
    for session in found:
        flood(session, [begun(session, n, 1, 16384, read10(0, 16384), 0xC1) for n in range(60)])
    return found


def sends_no_data(target: RunningTarget) -> list[Session]:
    found = sessions(target, 24)
    for session in found:
        flood(session, [begun(session, 0, 0, 16384, write10(0, 16384), 0xA1, 65536), b"x"])
    return found


def sends_no_data_at_once(target: RunningTarget) -> list[Session]:
    found = sessions(target, 10)
    for session in found:
        pdus = [begun(session, n, 1, 2048, write10(0, 2048), 0xA1) for n in range(1000)]
        flood(session, [bytes([pdu[0] | 0x40]) + pdu[1:] for pdu in pdus])
    return found


def leaves_out_one(target: RunningTarget) -> list[Session]:
    found = sessions(target, 20)
    for session in found:
        flood(session, [begun(session, n, 0, 16, write10(0, 16), 0xA1, 8192) + bytes(8192) for n in range(1, 60)])
    return found


def pings(target: RunningTarget) -> list[Session]:
    found = sessions(target, 20)
    ping = make_bhs(Opcode.NOP_OUT, immediate=True, flags=0x80, itt=9, ttt=NO_TAG, data_length=8192) + bytes(8192)
    for session in found:
        flood(session, [ping] * 200)
    return found


def comes_and_goes(target: RunningTarget) -> list[Session]:
    found = []
    for session in sessions(target, 100):
        session.close()
    for number in range(50):
        session = Session(target.addresses[0])
        request = make_bhs(Opcode.LOGIN_REQUEST, immediate=True, isid=number, data_length=400)
        session.wire.sock.send(request[: number + 1])
        found.append(session)
    with pytest.raises(LoginError):
        Session.connect(target.addresses[0], IQN + ".none", initiator="iqn.2026-11.example:bad")
    return found


ATTACKS = [
    (reads_nothing, STOCK), (reads_nothing_by_threads, STOCK), (sends_no_data, STOCK), (sends_no_data_at_once, STOCK),
    (leaves_out_one, 0), (pings, 0), (comes_and_goes, 0),
]  # fmt: skip


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what stays of freed memory is the C library's affair")
@pytest.mark.parametrize(("attack", "stock"), ATTACKS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_later_round_leaves_no_more_than_the_first(
    tmp_path: Path, attack: Callable[[RunningTarget], list[Session]], stock: int
) -> None:
    file = tmp_path / "target.toml"
    file.write_text('log_level = "error"\n' + one_target(*LUNS, limits=LIMITS))
    file.chmod(0o600)
    with start_target(tmp_path, "--config", str(file), "--provider", "none") as target:
        before = descriptors(target.pid)
        left = []
        for _ in range(3):
            for session in attack(target):
                session.close()
            eventually(lambda: descriptors(target.pid) <= before, "the end of the connections")
            with Session.connect(target.addresses[0], IQN, initiator="iqn.2026-11.example:good") as session:
                for lun in (0, 1):  # a unit answers again when what it had to end has ended
                    session.command(TEST_UNIT_READY, lun)
                    eventually(lambda session=session, lun=lun: session.command(read10(0, 8), lun, read=4096).good)
                session.logout()
            eventually(lambda: descriptors(target.pid) <= before, "the end of the connections")
            left.append(memory(target.pid))
        assert max(left[1:]) <= left[0] + stock + SLACK


def tasks() -> int:
    """Tasks that are in memory, whether anybody can reach them or not."""
    return sum(isinstance(each, Task) for each in gc.get_objects())


def test_a_task_of_a_thread_is_gone_at_its_end(tmp_path: Path) -> None:
    """Answered, aborted before a thread took it, and aborted while one was at it: none waits for the collector."""
    with running(tmp_path, one_target("gate:16M")) as target:
        gc.collect()
        before = tasks()
        gc.disable()
        try:
            with target.connect() as session:
                assert session.read(0, 8) == bytes(4096)
                session.logout()
            target.gate().held = {"read"}
            session = target.connect()
            for _ in range(40):
                session.start_command(read10(0, 8), read=4096)
            eventually(lambda: target.gate().count("read") > 1, "reads that have begun")
            session.close()
            eventually(lambda: not target.server.table, "the end of the session")
            target.gate().release()
            eventually(lambda: target.reserved == 0, "the release of the buffers")
            eventually(lambda: tasks() == before, "the end of the tasks")
        finally:
            gc.enable()
