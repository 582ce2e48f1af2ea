"""The end comes, whatever hangs, fails or asks for it twice."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from .ending_servers import DATA, asked_to_log_out, connect, serve
from .harness import (
    IQN,
    Gate,
    eventually,
    make_server,
    one_target,
    own_threads,
    plugin,
    read10,
    running,
)


def test_a_call_that_never_returns_is_left_behind(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    target = serve(tmp_path, "ram+delay:1M,delay.read=600m", f"file:{disk},size=1M", limits="exit_timeout = 1.0")
    session = connect(target, luns=2)
    session.write(0, DATA, lun=1)
    session.start_command(read10(0, 8), read=4096)
    session.nop()
    os.kill(target.pid, signal.SIGTERM)
    assert target.process.wait(30) == 1
    output = target.stop()
    assert f"{IQN} LUN 0: 1 calls of its backstore have not returned" in output
    assert "LUN 1" not in output.partition("have not returned")[2]
    assert disk.read_bytes()[:4096] == DATA
    session.close()


def test_a_second_signal_waits_for_nobody(tmp_path: Path) -> None:
    target = serve(tmp_path, "ram+delay:1M,delay.read=600m,delay.flush=600m", limits="exit_timeout = 600")
    session = connect(target)
    session.start_command(read10(0, 8), read=4096)
    session.nop()
    os.kill(target.pid, signal.SIGTERM)
    asked_to_log_out(session)
    os.kill(target.pid, signal.SIGTERM)
    assert target.process.wait(30) == 1
    assert "did not close in time" in target.stop()
    session.close()


def test_a_second_signal_during_the_last_flush(tmp_path: Path) -> None:
    target = serve(tmp_path, "ram+delay:1M,delay.flush=600m", limits="exit_timeout = 600")
    session = connect(target)
    os.kill(target.pid, signal.SIGTERM)
    asked_to_log_out(session)
    assert session.logout().response == 0
    eventually(lambda: "connection closed" in target.output)
    deadline = time.monotonic() + 30
    while target.process.poll() is None and time.monotonic() < deadline:
        os.kill(target.pid, signal.SIGTERM)  # until one comes after the loop has stopped
        time.sleep(0.2)
    assert target.process.wait(1) == 1
    assert "LUN 0: its backstore did not close in time" in target.stop()


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), SystemExit(3)])
def test_a_flush_that_fails_at_the_end_is_said_and_all_is_closed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    with running(tmp_path, one_target("gate:1M", "gate:1M")) as target:
        first, second = target.gate(0), target.gate(1)
        first.errors["flush"] = error
        target.end()
        assert (first.closed, second.closed, second.count("flush")) == (1, 1, 1)
    assert f"{IQN} LUN 0: flushing at the end failed: {type(error).__name__}" in caplog.text


def test_hooks_and_observers_that_hang_or_raise_do_not_keep_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from iscsitools.probes.table import Probe

    go = threading.Event()
    seen = []

    class Hangs:
        probes = (Probe.SCSI_COMMAND,)

        def on_event(self, event: object) -> None:
            go.wait()

    class Raises:
        probes = (Probe.SCSI_COMMAND,)

        def on_event(self, event: object) -> None:
            raise KeyboardInterrupt

    def raises() -> None:
        raise GeneratorExit

    hooks = (
        plugin(observe_probes=lambda: [Hangs()], target_stopped=lambda: go.wait()),
        plugin(observe_probes=lambda: [Raises()], session_opened=raises, session_closed=lambda: seen.append(1)),
    )
    try:
        with running(tmp_path, one_target("gate:1M"), *hooks) as target:
            gate = target.gate()
            with target.connect() as session:
                assert session.read(0, 8) == bytes(4096)
            eventually(lambda: seen, "a hook after one that raised")
            target.end()
            assert gate.closed == 1
            go.set()
    finally:
        go.set()
    assert "probe observer raised and is detached" in caplog.text
    assert "session_opened raised" in caplog.text


def test_a_reader_of_its_first_lines_that_is_gone_closes_the_disks(tmp_path: Path) -> None:
    server = make_server(tmp_path, one_target("gate:1M"))
    gate = server.assembly.stores[0][1]
    assert isinstance(gate, Gate)

    def on_ready(addresses: list[str]) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        server.run(on_ready)
    assert (gate.count("flush"), gate.closed) == (1, 1)
    eventually(lambda: not own_threads())
