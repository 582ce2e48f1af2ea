"""A successor that fails, or a server that cannot let go: the running one goes on."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from iscsitools.control import Control, ControlError
from iscsitools.server.heritage import HandoverChannel

from .harness import IQN, TEST_UNIT_READY, Gate, Running, eventually, one_target, running, write10

NAME = "gated"


class Impostor:
    """Plays the process that takes over; ``message``: what it was given."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "impostor")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(1)
        self.error: ControlError | None = None
        self.thread = threading.Thread(target=self._ask)
        self.thread.start()
        self.channel = HandoverChannel(self._listener.accept()[0])

    def _ask(self) -> None:
        try:
            with Control(NAME) as control:
                control.request("takeover", socket=self.path)
        except ControlError as error:
            self.error = error

    def end(self) -> ControlError:
        self.channel.close()
        self._listener.close()
        self.thread.join(60)
        assert self.error is not None
        return self.error


@pytest.fixture
def gated(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path, one_target("gate:1M", limits="exit_timeout = 2", more=f'name = "{NAME}"')) as server:
        yield server


def test_no_write_of_the_old_one_lands_after_it_was_handed_over(gated: Running, tmp_path: Path) -> None:
    store = gated.gate()
    session = gated.connect()
    store.held.add("write")
    held = session.start_command(write10(0, 1), 0, write=b"h" * 512)
    eventually(lambda: store.count("write") == 1)
    impostor = Impostor(tmp_path)
    eventually(lambda: gated.server.holding)
    late = session.start_command(write10(1, 1), 0, write=b"l" * 512)  # nobody reads this any more
    with pytest.raises(TimeoutError):
        impostor.channel.receive(0.2)
    assert store.closed == 0
    store.release()
    message, fds = impostor.channel.receive(60)
    assert store.calls[-1] == "flush"
    assert (store.closed, store.count("write")) == (1, 1)
    assert message["units"][0][:2] == [IQN, 0]
    assert len(fds) == 2  # the portal, and the disk's memory
    for fd in fds:
        os.close(fd)
    assert session.wait(held).good
    assert str(impostor.end()) == "not taken over: the other server has ended"
    assert session.wait(late).good  # the old one goes on, and reads it
    assert session.read(0, 2) == b"h" * 512 + b"l" * 512
    session.close()


def test_a_call_that_does_not_return_is_a_reason_to_go_on(gated: Running, tmp_path: Path) -> None:
    store = gated.gate()
    session = gated.connect()
    store.held.add("write")
    held = session.start_command(write10(0, 1), 0, write=b"h" * 512)
    eventually(lambda: store.count("write") == 1)
    impostor = Impostor(tmp_path)
    assert impostor.channel.receive(60)[0] == {"mine": True}
    assert f"not taken over: {IQN} LUN 0: commands are under way" in impostor.end().lines
    store.release()
    assert session.wait(held).good
    assert gated.gate() is store
    session.close()


def test_a_flush_that_fails_is_a_reason_to_go_on(gated: Running, tmp_path: Path) -> None:
    store = gated.gate()
    session = gated.connect()
    session.write(0, b"k" * 512)
    store.errors["flush"] = OSError(5, "Input/output error")
    impostor = Impostor(tmp_path)
    assert impostor.channel.receive(60)[0] == {"mine": True}
    assert impostor.end().lines[0] == f"not taken over: {IQN} LUN 0: OSError: [Errno 5] Input/output error"
    assert session.read(0, 1) == b"k" * 512
    session.close()


def test_one_that_says_that_it_failed(gated: Running, tmp_path: Path) -> None:
    session = gated.connect()
    session.write(0, b"k" * 512)
    impostor = Impostor(tmp_path)
    _, fds = impostor.channel.receive(60)
    impostor.channel.send({"failed": ["no room", "none at all"]})
    assert impostor.channel.receive(60)[0] == {"mine": True}
    for fd in fds:
        os.close(fd)
    assert impostor.end().lines == ("not taken over: no room", "not taken over: none at all")
    assert session.read(0, 1) == b"k" * 512
    assert isinstance(gated.gate(), Gate)
    session.close()


@pytest.mark.parametrize("path", ["/nonexistent/socket", "x" * 200])
def test_nobody_listens_there(gated: Running, path: str) -> None:
    session = gated.connect()
    with Control(NAME) as control, pytest.raises(ControlError):
        control.request("takeover", socket=path)
    assert session.command(TEST_UNIT_READY).good
    session.close()


def test_the_messages_are_checked() -> None:
    from iscsitools.server.heritage import Heritage

    good: dict[str, Any] = {
        "version": 1, "document": {}, "generation": 1, "tsih": 1, "portals": [], "units": [],
    }  # fmt: skip
    Heritage.from_message(good, [])
    for wrong in ({"version": 2}, {"generation": "x"}, {"units": [1]}, {"portals": ["127.0.0.1:0"]}, {"tsih": None}):
        with pytest.raises(ValueError, match="hands over"):
            Heritage.from_message(good | wrong, [])
