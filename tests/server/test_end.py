"""The orderly end, and the other one: signals, what runs meanwhile, what stays."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.target import start_target

from iscsitools.initiator import ConnectionClosedError, Opcode, Session

from .ending_servers import DATA, asked_to_log_out, connect, ended, serve
from .harness import (
    IQN,
    SYNCHRONIZE_CACHE,
    TEST_UNIT_READY,
    descriptors,
    eventually,
    one_target,
    own_threads,
    read10,
    running,
    write10,
)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sessions_are_asked_to_log_out_and_data_is_kept(tmp_path: Path, number: int) -> None:
    disk = tmp_path / "disk.img"
    target = serve(tmp_path, f"file:{disk},size=1M")
    first, second = connect(target), connect(target, "b")
    first.write(8, DATA)
    os.kill(target.pid, number)
    for session in (first, second):
        message = asked_to_log_out(session)
        assert (message.event, message.parameter3, message.itt, message.lun) == (1, 2, 0xFFFFFFFF, 0)
        assert session.command(TEST_UNIT_READY).good  # commands are served until logout
        assert session.logout().response == 0
    assert target.process.wait(20) == 0
    status, output = ended(target)
    assert (status, "Traceback" in output, "error" in output) == (0, False, False)
    assert disk.read_bytes() == bytes(4096) + DATA + bytes((1 << 20) - 8192)


def test_an_initiator_that_ignores_the_message_is_cut_off(tmp_path: Path) -> None:
    target = serve(tmp_path, "ram:1M")
    session = connect(target)
    os.kill(target.pid, signal.SIGTERM)
    asked_to_log_out(session)
    with pytest.raises(ConnectionClosedError):
        session.pump()
    session.close()
    assert ended(target)[0] == 0


def test_commands_that_run_are_finished(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    target = serve(tmp_path, f"file+delay:{disk},size=1M,delay.write=3s")
    session = connect(target)
    task = session.start_command(write10(0, 8), write=DATA)
    session.nop()  # the write has been received
    os.kill(target.pid, signal.SIGTERM)
    asked_to_log_out(session)
    assert session.wait(task).good
    with pytest.raises(ConnectionClosedError):
        session.pump()
    session.close()
    assert ended(target)[0] == 0
    assert disk.read_bytes()[:4096] == DATA


def test_data_that_never_comes_is_not_waited_for(tmp_path: Path) -> None:
    with running(tmp_path, one_target("ram:1M", limits="exit_timeout = 600")) as target:
        session = target.connect(keys={"InitialR2T": "Yes", "ImmediateData": "No"})
        task = session.start_command(write10(0, 8), write=DATA, hold_r2ts=True)
        eventually(lambda: session.pump() and task.pdus)
        target.end()
        assert target.reserved == 0
        session.close()


def test_an_initiator_that_goes_on_as_if_nothing_were(tmp_path: Path) -> None:
    """Load that does not stop is cut off after the time for logout; the reads that were answered were answered well."""
    with running(tmp_path, one_target("gate:1M", limits="exit_timeout = 600")) as target:
        session = target.connect()
        answers = []

        def load() -> None:
            with contextlib.suppress(ConnectionClosedError):
                while True:
                    answers.append(session.command(read10(0, 8), read=4096))

        thread = threading.Thread(target=load)
        thread.start()
        eventually(lambda: answers)
        target.end()
        thread.join()
        session.close()
        assert all(answer.good for answer in answers)
        assert target.reserved == 0
        assert session.others[0].opcode == Opcode.ASYNC_MESSAGE


def test_standard_output_that_is_gone(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "iscsitools", "serve", "--portal", "127.0.0.1:0", "--lun", f"file:{disk},size=1M"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writer)
    assert "Traceback" not in done.stderr
    assert done.returncode != 0


def test_a_connection_that_has_not_logged_in_is_closed_at_once(tmp_path: Path) -> None:
    with running(tmp_path, one_target("ram:1M", limits="exit_timeout = 600")) as target:
        silent = Session(target.address)
        eventually(lambda: target.server.connections.tcp)
        target.end()
        with pytest.raises(ConnectionClosedError):
            silent.recv_pdu()
        silent.close()


def test_a_crash_frees_the_lock_and_keeps_what_was_flushed(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    arguments = ("--iqn", IQN, "--lun", f"file:{disk},size=1M", "--name", "same", "--provider", "none")
    target = start_target(tmp_path, *arguments)
    session = connect(target)
    session.write(16, DATA)
    assert session.command(SYNCHRONIZE_CACHE).good
    refused = subprocess.run(
        [sys.executable, "-m", "iscsitools", "serve", "--portal", "127.0.0.1:0", *arguments],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert f"{disk} is in use by another server" in refused.stderr
    target.kill()
    session.close()
    with start_target(tmp_path, *arguments) as again, connect(again) as session:
        assert session.read(16, 8) == DATA


def test_nothing_stays_of_a_server_that_ended(tmp_path: Path) -> None:
    before = descriptors()
    with running(tmp_path, one_target("gate:1M", "ram+delay:1M,delay.read=1ms")) as target:
        gate = target.gate()
        session = target.connect()
        assert session.read(0, 8) == session.read(0, 8, lun=1)
        assert [name for name in own_threads() if name.startswith("lun")]
        session.close()
        target.end()
        assert (gate.count("flush"), gate.closed, target.server.shutdown.stuck) == (1, 1, False)
    assert descriptors() == before
