"""Log lines never hold anybody up, and what is left out is said."""

from __future__ import annotations

import logging
import os
import threading
from io import StringIO
from pathlib import Path

import pytest
from support.target import start_target

from iscsitools.initiator import LoginError, Session
from iscsitools.server.log_queue import LogQueue, wanted

from .harness import eventually


class Blocked(StringIO):
    """A stream that takes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def write(self, text: str) -> int:
        self.go.wait()
        return super().write(text)


def logger(handler: logging.Handler, name: str = "iscsitools.test") -> logging.Logger:
    found = logging.Logger(name)
    found.addHandler(handler)
    return found


def test_one_cause_writes_so_many_lines_a_second_and_says_how_many_it_left_out() -> None:
    now = [0.0]
    stream = StringIO()
    handler = LogQueue(stream, per_second=3, clock=lambda: now[0])
    log = logger(handler)
    for number in range(10):
        log.warning("refused %d", number)
        log.warning("another %d", number % 2)
    now[0] = 1.0
    log.warning("refused %d", 10)
    handler.close()
    lines = stream.getvalue().splitlines()
    assert [line for line in lines if line.startswith("refused")] == [
        "refused 0",
        "refused 1",
        "refused 2",
        "refused 10",
    ]
    assert sorted(line for line in lines if "left out" in line) == [
        "7 more like this were left out: another %d", "7 more like this were left out: refused %d",
    ]  # fmt: skip


def test_who_asks_first_makes_no_record_of_what_is_left_out_and_it_is_counted() -> None:
    now = [0.0]
    stream = StringIO()
    handler = LogQueue(stream, per_second=3, clock=lambda: now[0])
    log = logger(handler)

    def say() -> bool:
        if asked := wanted(log, logging.INFO, "opened"):
            log.info("opened")
        return asked

    assert [say() for _ in range(10)] == [True] * 3 + [False] * 7
    now[0] = 1.0
    assert say()
    handler.close()
    assert stream.getvalue().splitlines() == [
        "opened",
        "opened",
        "opened",
        "7 more like this were left out: opened",
        "opened",
    ]


def test_a_line_is_wanted_while_another_handler_may_see_it() -> None:
    handler, other = LogQueue(StringIO(), per_second=1, clock=lambda: 0.0), logging.NullHandler()
    parent, log = logger(other, "iscsitools"), logger(handler)
    for _ in range(2):
        log.info("opened")
    assert not wanted(log, logging.INFO, "opened")
    log.parent = parent
    assert wanted(log, logging.INFO, "opened")
    handler.close()
    assert not wanted(logging.Logger("iscsitools.test", logging.WARNING), logging.INFO, "opened")


def test_what_was_left_out_is_said_at_the_end_too() -> None:
    stream = StringIO()
    handler = LogQueue(stream, per_second=1, clock=lambda: 0.0)
    for _ in range(5):
        logger(handler).error("gone")
    handler.close()
    assert stream.getvalue().splitlines() == ["gone", "4 more like this were left out: gone"]


def test_a_stream_that_takes_nothing_costs_lines_and_holds_nobody_up() -> None:
    stream = Blocked()
    handler = LogQueue(stream, per_second=1000, waiting=10)
    log = logger(handler)
    for number in range(100):
        log.warning("line %d", number)
    stream.go.set()
    eventually(lambda: "lost" in stream.getvalue())
    handler.close()
    lines = stream.getvalue().splitlines()
    written = [line for line in lines if line.startswith("line")]
    assert 10 <= len(written) <= 12
    assert f"{100 - len(written)} log lines were lost: standard error took none" in lines


def test_standard_error_that_nobody_reads_stops_nothing(tmp_path: Path) -> None:
    """A pipe holds 64 KiB, which is some 600 lines."""
    pipe = tmp_path / "stderr"
    os.mkfifo(pipe)
    held = os.open(pipe, os.O_RDWR)
    shell = ("sh", "-c", f'exec "$0" "$@" 2>"{pipe}"')
    iqn = "iqn.2026-11.example:logs"
    try:
        with start_target(tmp_path, "--iqn", iqn, "--lun", "ram:1M", "--log-level", "debug", prefix=shell) as target:
            with Session.connect(target.addresses[0], iqn) as session:
                for number in range(1500):
                    with pytest.raises(LoginError):
                        Session.connect(target.addresses[0], f"{iqn}{number}")
                assert session.nop(b"x").data == b"x"
            target.stop()
            assert target.process.returncode == 0
    finally:
        os.close(held)
