"""How many data threads a server has, and what the loop has them do."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from support.native import needs_data_path

from iscsitools.errors import RunError

from .harness import eventually, make_server, one_target, running
from .lending import BLOCKS, MORE, on_loop, read_until_lent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="data threads need epoll")


@pytest.mark.parametrize(("processors", "count"), [(1, 1), (2, 2), (100, 4)])
def test_auto_is_one_for_each_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processors: int, count: int
) -> None:
    needs_data_path()
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(processors))
    with running(tmp_path, one_target("ram:16M", more='threads = "auto"')) as server:
        threads = server.server.connections.threads
        assert (len(threads.threads) if threads else 1) == count
        assert server.server.buffers.limit == (512 << 20) - (0 if count == 1 else count * (32 << 20))
        session = server.connect()
        session.read(0, BLOCKS)
        session.logout()


def test_auto_is_the_loop_alone_without_the_data_path_in_c(tmp_path: Path) -> None:
    with running(tmp_path, one_target("ram:16M", more='threads = "auto"\ndata_path = "python"')) as server:
        assert server.server.connections.threads is None


def test_busy_poll_is_for_data_threads_too(tmp_path: Path) -> None:
    needs_data_path()
    with running(tmp_path, one_target("ram:16M", more=MORE, limits="busy_poll = 200000")) as server:
        threads = server.server.connections.threads
        assert threads is not None
        session = server.connect()
        read_until_lent(server, [session])
        (busy,) = [thread for thread in threads.threads if thread.guests]
        before = busy.cpu
        session.read(0, BLOCKS)
        eventually(lambda: busy.cpu > before + 20_000_000, "it looks again for a while")
        on_loop(server, partial(server.server.take_limits, replace(server.server.config.limits, busy_poll=0)))
        assert [thread.busy_poll for thread in threads.threads] == [0, 0]
        session.logout()


def test_there_are_none_without_the_data_path_in_c(tmp_path: Path) -> None:
    text = one_target("ram:16M", more='threads = 2\ndata_path = "python"')
    with pytest.raises(RunError, match="threads 2: data threads need the data path in C"):
        make_server(tmp_path, text)
