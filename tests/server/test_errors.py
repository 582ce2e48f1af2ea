"""What a backstore raises becomes sense data; the connection and the process live on."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from iscsitools.backstores.base import Filter, MediumError

from .harness import IQN, SYNCHRONIZE_CACHE, TEST_UNIT_READY, Gate, eventually, one_target, read10, running, write10

DATA = bytes(range(256)) * 16
MEDIUM, HARDWARE, DATA_PROTECT, NOT_READY = 3, 4, 7, 2


def failing(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def error_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [r for r in caplog.records if r.name == "iscsitools.scsi.core.unit" and r.levelno >= logging.ERROR]
    return [record.getMessage() for record in found]


@pytest.mark.parametrize(
    ("verb", "error", "code"),
    [
        ("write", failing(errno.ENOSPC), (DATA_PROTECT, 0x27, 0x07)),
        ("write", failing(errno.EROFS), (DATA_PROTECT, 0x27, 0x00)),
        ("write", failing(errno.EIO), (MEDIUM, 0x0C, 0x00)),
        ("read", failing(errno.EIO), (MEDIUM, 0x11, 0x00)),
        ("read", failing(errno.ENODEV), (NOT_READY, 0x04, 0x00)),
        ("read", MediumError("gone", 8 * 512 + 1024), (MEDIUM, 0x11, 0x00)),
        ("read", ValueError("a defect"), (HARDWARE, 0x44, 0x00)),
        ("read", SystemExit(3), (HARDWARE, 0x44, 0x00)),
        ("write", SystemExit(3), (HARDWARE, 0x44, 0x00)),
        ("read", KeyboardInterrupt(), (HARDWARE, 0x44, 0x00)),
        ("write", GeneratorExit(), (HARDWARE, 0x44, 0x00)),
        ("flush", failing(errno.EIO), (MEDIUM, 0x0C, 0x00)),
        ("flush", ValueError("a defect"), (HARDWARE, 0x44, 0x00)),
    ],
    ids=str,
)
def test_an_exception_becomes_sense_data_and_is_logged_once_in_ten_seconds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, verb: str, error: BaseException, code: tuple[int, int, int]
) -> None:
    how = {
        "read": (read10(8, 8), {"read": 4096}),
        "write": (write10(8, 8), {"write": DATA}),
        "flush": (SYNCHRONIZE_CACHE, {}),
    }
    cdb, data = how[verb]
    with running(tmp_path, one_target("gate:1M")) as target, target.connect() as session:
        gate = target.gate()
        gate.errors[verb] = error
        for _ in range(3):
            assert session.command(cdb, **data).sense_code[:2] == code[:2]
        assert session.command(cdb, **data).sense_code == code
        gate.errors.clear()
        assert session.command(cdb, **data).good
        eventually(lambda: target.reserved == 0, "the release of the buffers")
        (line,) = error_lines(caplog)
        assert type(error).__name__ in line


def test_a_disk_that_goes_on_failing_is_told_again_with_a_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path, one_target("gate:1M", "gate:1M")) as target, target.connect() as session:
        for lun in (0, 1):
            target.gate(lun).errors["read"] = failing(errno.EIO)
            for _ in range(5):
                session.command(read10(8, 8), lun, read=4096)
        assert len(error_lines(caplog)) == 2
        later = time.time() + 11
        monkeypatch.setattr(time, "time", lambda: later)
        monkeypatch.setattr(time, "time_ns", lambda: round(later * 1e9))  # what Python 3.13 dates a line of the log by
        session.command(read10(8, 8), 1, read=4096)
    assert error_lines(caplog)[2:] == [
        f"{IQN} LUN 1, gate: READ(10) failed: OSError: [Errno 5] Input/output error (and 4 more like it before)"
    ]


@pytest.mark.parametrize(
    "error",
    [failing(errno.EIO), ValueError("a defect"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()],
    ids=repr,
)
def test_an_exception_on_the_event_loop(tmp_path: Path, error: BaseException) -> None:
    with running(tmp_path, one_target("inline:1M")) as target, target.connect() as session:
        gate = target.gate()
        gate.errors = {"read": error, "write": error}
        assert session.command(read10(0, 8), read=4096).status == 2
        assert session.command(write10(0, 8), write=DATA).status == 2
        assert session.command(TEST_UNIT_READY).good
        gate.errors.clear()
        assert session.command(write10(0, 8), write=DATA).good
        assert session.read(0, 8) == DATA


@pytest.mark.parametrize("kind", ["gate", "inline"])
def test_what_a_backstores_method_returns_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Many a read function returns how much it read; that is no data for the initiator."""

    def counting(method: Callable[..., None]) -> Callable[..., int]:
        def count(self: Gate, offset: int, buffer: memoryview) -> int:
            method(self, offset, buffer)
            return len(buffer)

        return count

    for name in ("read_into", "write"):
        monkeypatch.setattr(Gate, name, counting(getattr(Gate, name)))
    with running(tmp_path, one_target(f"{kind}:1M")) as target, target.connect() as session:
        session.write(8, DATA)
        assert session.read(8, 8) == DATA
        assert session.command(write10(0, 8, fua=True), write=DATA).good
        assert session.command(read10(0, 8, fua=True), read=4096).data == DATA


def test_the_log_says_which_disk_and_which_backstore_failed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with running(tmp_path, one_target("ram:1M", "gate+delay:1M")) as target, target.connect() as session:
        gate = next(store.inner for _, store, _ in target.server.assembly.stores if isinstance(store, Filter))
        assert isinstance(gate, Gate)
        gate.errors["read"] = ValueError("a defect")
        assert session.command(read10(0, 8), 1, read=4096).sense_code == (HARDWARE, 0x44, 0)
        gate.errors.clear()
    assert f"{IQN} LUN 1, gate+delay: READ(10) failed: ValueError: a defect" in caplog.text


def test_a_backstore_that_leaves_the_interpreter_from_the_loop_leaves_the_process(tmp_path: Path) -> None:
    with running(tmp_path, one_target("inline:1M")) as target:
        with target.connect() as session:
            target.gate().errors["flush"] = SystemExit(5)
            assert session.command(SYNCHRONIZE_CACHE).sense_code == (HARDWARE, 0x44, 0)
            assert session.command(TEST_UNIT_READY).good
        target.gate().errors.clear()


def test_the_error_filter_fails_its_range_and_names_the_block(tmp_path: Path) -> None:
    store = "ram+error:1M,error.range=8K+512"
    with running(tmp_path, one_target(store)) as target, target.connect() as session:
        failed = session.command(read10(0, 32), read=16384)
        assert failed.sense_code == (MEDIUM, 0x11, 0)
        assert (failed.sense[0], int.from_bytes(failed.sense[3:7], "big")) == (0xF0, 16)
        assert session.command(write10(16, 1), write=bytes(512)).sense_code == (MEDIUM, 0x0C, 0)
        session.write(17, DATA)
        assert session.read(17, 8) == DATA


def test_the_error_filter_with_another_error(tmp_path: Path) -> None:
    store = "ram+error:1M,error.write=1,error.errno=ENOSPC"
    with running(tmp_path, one_target(store)) as target, target.connect() as session:
        assert session.command(write10(0, 8), write=DATA).sense_code == (DATA_PROTECT, 0x27, 7)
        assert session.read(0, 8) == bytes(4096)


def test_delayed_calls_wait_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight reads are all inside their delay before the first has ended."""
    from iscsitools.backstores.filters import delay

    started: list[float] = []
    barrier = threading.Barrier(8)

    def sleep(seconds: float) -> None:
        if seconds:  # not the flush at the end
            started.append(seconds)
            barrier.wait(30)

    monkeypatch.setattr(delay, "time", SimpleNamespace(sleep=sleep))
    with running(tmp_path, one_target("ram+delay:1M,delay.read=5ms")) as target, target.connect() as session:
        tasks = [session.start_command(read10(8 * n, 8), read=4096) for n in range(8)]
        assert all(session.wait(task).data == bytes(4096) for task in tasks)
    assert started == [0.005] * 8


def test_a_filter_fails_one_client_and_serves_the_others(tmp_path: Path) -> None:
    with (
        running(tmp_path, one_target("ram+error:1M")) as target,
        target.connect(name="a") as a,
        target.connect(name="b") as b,
    ):
        error = target.server.assembly.stores[0][1]
        assert isinstance(error, Filter)
        error.configure({"read": "100%", "write": "100%"}, client="*:b")
        assert b.command(read10(0, 8), read=4096).sense_code == (MEDIUM, 0x11, 0)
        assert b.command(write10(0, 8), write=DATA).sense_code == (MEDIUM, 0x0C, 0)
        a.write(0, DATA)
        assert a.read(0, 8) == DATA
        error.clear()
        assert b.read(0, 8) == DATA
