"""A backstore whose calls do not return stops its own logical unit and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from iscsitools.initiator import ConnectionClosedError

from .harness import IQN, TEST_UNIT_READY, eventually, one_target, read10, running, write10

ABORT_TASK, ABORT_TASK_SET, LOGICAL_UNIT_RESET = 1, 2, 5
TASK_SET_FULL = 0x28
DATA = bytes(range(256)) * 16

TWO = one_target('store = "gate:1M", queue_depth = 4, threads = 2', "gate:1M")


def test_other_units_and_other_sessions_go_on(tmp_path: Path) -> None:
    with running(tmp_path, TWO) as target, target.connect() as session, target.connect(name="b") as other:
        gate = target.gate(0)
        gate.held = {"read"}
        stuck = session.start_command(read10(0, 8), read=4096)
        eventually(lambda: gate.count("read"))
        for each in (session, other):
            each.write(8, DATA, lun=1)
            assert each.read(8, 8, lun=1) == DATA
            assert each.command(TEST_UNIT_READY, 0).good
        other.write(8, DATA, lun=0)
        behind = other.start_command(write10(0, 8), write=DATA)  # the blocks that the stuck read is at: it waits
        assert other.read(8, 8, lun=1) == DATA
        assert stuck.result is None
        assert behind.result is None
        gate.release()
        assert session.wait(stuck).data == bytes(4096)
        assert other.wait(behind).good
        assert session.read(0, 8) == DATA


def test_the_queue_of_a_stuck_unit_is_bounded(tmp_path: Path) -> None:
    with running(tmp_path, TWO) as target, target.connect() as session, target.connect(name="b") as other:
        gate = target.gate(0)
        gate.held = {"write"}
        tasks = [session.start_command(write10(8 * n, 8), write=DATA) for n in range(4)]
        eventually(lambda: gate.count("write") == 2)
        assert session.command(read10(64, 8), read=4096).status == TASK_SET_FULL
        own_place = other.start_command(read10(64, 8), read=4096)  # who has nothing in the set always finds room
        assert other.command(read10(64, 8), read=4096).status == TASK_SET_FULL
        for each in (session, other):
            assert each.command(TEST_UNIT_READY).good
            assert each.read(0, 8, lun=1) == bytes(4096)
        assert own_place.result is None
        assert gate.count("write") == 2  # no more threads than allowed
        gate.release()
        assert [session.wait(task).status for task in tasks] == [0] * 4
        assert other.wait(own_place).good
        assert session.read(0, 32) == DATA * 4


@pytest.mark.parametrize("function", [ABORT_TASK, ABORT_TASK_SET, LOGICAL_UNIT_RESET])
@pytest.mark.parametrize("verb", ["read", "write"])
def test_a_running_call_can_be_aborted_and_its_late_result_goes_nowhere(
    tmp_path: Path, verb: str, function: int
) -> None:
    with running(tmp_path, TWO) as target, target.connect() as session:
        gate = target.gate(0)
        gate.held = {verb}
        if verb == "read":
            task = session.start_command(read10(0, 8), read=4096)
        else:
            task = session.start_command(write10(0, 8), write=DATA)
        eventually(lambda: gate.count(verb))
        assert session.manage(function, rtt=task.itt).response == 0
        assert target.reserved == 4096  # the thread still uses it
        gate.release()
        eventually(lambda: target.reserved == 0, "the release of the buffer")
        if function == LOGICAL_UNIT_RESET:
            assert session.command(TEST_UNIT_READY).sense_code == (6, 0x29, 3)
        assert session.command(TEST_UNIT_READY).good  # and no answer to the aborted task before it
        assert task.result is None


def test_the_buffer_of_a_running_write_is_not_used_for_another(tmp_path: Path) -> None:
    with running(tmp_path, TWO) as target:
        gate = target.gate(0)
        gate.held = {"write"}
        session = target.connect()
        session.start_command(write10(0, 8), write=DATA)
        eventually(lambda: gate.count("write"))
        session.close()
        eventually(lambda: not target.server.connections.tcp, "the end of the connection")
        with target.connect(name="b") as other:
            for _ in range(4):
                other.write(0, bytes(4096), lun=1)
            gate.release()
            eventually(lambda: target.reserved == 0, "the release of the buffer")
            assert other.read(0, 8) == DATA


def test_a_vanished_initiators_commands_leave_nothing_behind(tmp_path: Path) -> None:
    with running(tmp_path, TWO) as target, target.connect(name="b") as other:
        gate = target.gate(0)
        gate.held = {"write"}
        session = target.connect()
        for n in range(4):
            session.start_command(write10(8 * n, 8), write=DATA)
        eventually(lambda: gate.count("write") == 2)
        eventually(lambda: target.reserved == 4 * 4096, "the arrival of all four")
        session.close()
        eventually(lambda: target.reserved == 2 * 4096, "the end of the commands that no thread had begun")
        gate.go.set()
        eventually(lambda: target.reserved == 0, "the release of the buffers")
        other.write(128, DATA)
        assert gate.count("write") == 3
        assert other.read(0, 32) == DATA * 2 + bytes(2 * 4096)


def test_a_unit_with_all_threads_stuck_takes_commands_again_after_a_reset(tmp_path: Path) -> None:
    with running(tmp_path, TWO) as target, target.connect() as session:
        gate = target.gate(0)
        gate.held = {"read"}
        for n in range(4):
            session.start_command(read10(8 * n, 8), read=4096)
        eventually(lambda: gate.count("read") == 2)
        assert session.command(read10(64, 8), read=4096).status == TASK_SET_FULL
        session.manage(LOGICAL_UNIT_RESET)
        assert session.command(TEST_UNIT_READY).sense_code == (6, 0x29, 3)
        assert session.command(TEST_UNIT_READY).good


def test_a_dropped_session_frees_its_unit(tmp_path: Path) -> None:
    with running(tmp_path, TWO) as target, target.connect() as session:
        gate = target.gate(0)
        gate.held = {"read"}
        session.start_command(read10(0, 8), read=4096)
        eventually(lambda: gate.count("read"))
        again = target.connect()  # the same initiator port: reinstatement
        with pytest.raises(ConnectionClosedError):
            session.pump()
        assert [s.target.name for s in target.server.table if s.target] == [IQN]
        gate.release()
        assert again.read(0, 8) == bytes(4096)
        again.close()
