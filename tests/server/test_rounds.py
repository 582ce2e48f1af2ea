"""The same attack again and again: what it leaves behind is what its first round left, and no more."""

from __future__ import annotations

import gc
import platform
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.native import needs_data_path
from support.target import RunningTarget, start_target

from iscsitools.initiator import Session
from iscsitools.scsi.core.task import Task

from . import attack_sessions, attacks, login_attacks
from .attack_sessions import Attack
from .harness import IQN, TEST_UNIT_READY, descriptors, eventually, one_target, read10, running

MIB = 1 << 20
SLACK = 8 * MIB
"""What rounds may differ in: where the heap ends, what of its small blocks is free."""
STOCK = 24 * MIB
"""What lies ready for the next I/O (iscsi.connection.memory); it becomes resident as it is first used."""
LUNS = ("ram:16M", "ram+delay:16M,delay.read=1us,delay.write=1us")
CHAPPED = f"""[[target]]
iqn = "{attack_sessions.CHAPPED}"
[target.auth]
method = "chap"
users = [{{ name = "user0", secret = "a secret of its own" }}]
[[target.lun]]
store = "null:1M"
"""
USE_THE_STOCK = [
    attacks.reads_nothing, attacks.reads_nothing_by_workers, attacks.sends_one_byte_of_data,
    attacks.sends_no_data_in_order, attacks.sends_no_data_at_once,
]  # fmt: skip
ATTACKS = [
    *USE_THE_STOCK, attacks.sends_data_of_nobody, attacks.leaves_out_one, attacks.sends_out_of_the_window,
    attacks.asks_units_that_are_not_there, attacks.reserves_and_resets,
    attacks.pings, attacks.pings_byte_by_byte, attacks.writes_byte_by_byte, attacks.sends_text_without_end,
    attacks.sends_unknown_keys, attacks.asks_for_targets, attacks.sends_garbage,
    login_attacks.comes_and_goes, login_attacks.begins_to_log_in, login_attacks.logs_in_byte_by_byte,
    login_attacks.reconnects, login_attacks.reinstates, login_attacks.asks_targets_that_are_not_there,
    login_attacks.guesses_secrets, login_attacks.comes_beyond_the_limit_of_an_initiator,
    login_attacks.comes_beyond_the_limit_of_an_address,
    attacks.watches_and_reads_nothing, attacks.comes_to_watch_and_goes,
]  # fmt: skip


def memory(pid: int) -> int:
    """Resident bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.fixture(scope="module", params=["python", "native", "threads"])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTarget]:
    """A server by either data path, and one with data threads, which goes through all attacks."""
    how = ["--data-path", "python"]
    if request.param != "python":
        needs_data_path()
        how = ["--data-path", "native", "--threads", "2" if request.param == "threads" else "1"]
    if request.param == "threads" and sys.platform != "linux":
        pytest.skip("data threads need epoll")
    folder = tmp_path_factory.mktemp("rounds")
    file = folder / "target.toml"
    file.write_text('log_level = "error"\n' + one_target(*LUNS, limits=attack_sessions.LIMITS) + CHAPPED)
    file.chmod(0o600)
    options = ("--config", str(file), "--name", attack_sessions.NAME, "--provider", "none")
    with start_target(folder, *options, *how) as found:
        at_rest = descriptors(found.pid)
        with Session.connect(found.addresses[0], IQN) as session:
            for lun in (0, 1):  # all of the disks is resident before it is asked what is
                session.command(TEST_UNIT_READY, lun)
                for block in range(0, 32768, 2048):
                    session.write(block, bytes(MIB), lun)
            session.logout()
        eventually(lambda: descriptors(found.pid) <= at_rest, "the end of the first session")
        yield found
        output = found.stop()
    assert found.process.returncode == 0
    assert "Traceback" not in output


@pytest.fixture(scope="module")
def idle(target: RunningTarget) -> int:
    """Descriptors of the server while nobody is there."""
    return descriptors(target.pid)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what stays of freed memory is the C library's affair")
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_a_later_round_leaves_no_more_than_the_first(target: RunningTarget, idle: int, attack: Attack) -> None:
    left = []
    for _ in range(3):
        for each in attack(target):
            each.close()
        eventually(lambda: descriptors(target.pid) <= idle, "the end of the connections")
        with Session.connect(target.addresses[0], IQN, initiator="iqn.2026-11.example:good") as session:
            for lun in (0, 1):  # a unit answers again when what it had to end has ended
                session.command(TEST_UNIT_READY, lun)
                eventually(lambda session=session, lun=lun: session.command(read10(0, 8), lun, read=4096).good)
            session.logout()
        eventually(lambda: descriptors(target.pid) <= idle, "the end of the connections")
        left.append(memory(target.pid))
    assert max(left[1:]) <= left[0] + SLACK + (STOCK if attack in USE_THE_STOCK else 0)


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
