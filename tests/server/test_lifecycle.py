"""What plugins are told of a server's life, and what they may ask it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.native import needs_data_path

from iscsitools.backstores.base import Option
from iscsitools.control import Control, ControlError
from iscsitools.errors import RunError
from iscsitools.initiator import LoginError, Session
from iscsitools.lifecycle import LoginNotice, LunNotice, ServerGone, ServerNotice, ServerView, TargetNotice
from iscsitools.server import view
from iscsitools.server.loop_calls import LoopCalls

from .harness import IQN, eventually, make_server, one_target, plugin, read10, running, write10

CHAP = f"""
[[target]]
iqn = "{IQN}"
lun = [{{ store = "ram:1M" }}]
[target.auth]
method = "chap"
users = [{{ name = "alice", secret = "correct horse battery" }}]
"""


class Told:
    """A plugin that writes down what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        calls = self.calls
        self.plugin = plugin(
            server_started=lambda server: calls.append(("server_started", server)),
            server_stopped=lambda server: calls.append(("server_stopped", server)),
            target_started=lambda target: calls.append(("target_started", target)),
            target_stopped=lambda target: calls.append(("target_stopped", target)),
            lun_added=lambda lun: calls.append(("lun_added", lun)),
            lun_removed=lambda lun: calls.append(("lun_removed", lun)),
            login_failed=lambda login: calls.append(("login_failed", login)),
        )

    @property
    def view(self) -> ServerView:
        view: ServerView = eventually(lambda: [what for hook, what in self.calls if hook == "server_started"])[0]
        return view


def test_the_hooks_of_a_servers_life_in_their_order(tmp_path: Path) -> None:
    told = Told()
    text = one_target("ram:1M", 'store = "null+delay:2M", number = 7, block_size = 4096', more='name = "life"')
    with running(tmp_path, text, told.plugin) as target:
        addresses = tuple(target.server.addresses)
        notice = told.view.notice
    assert notice == ServerNotice("life", addresses)
    luns = [LunNotice(IQN, 0, "ram", 2048, 512), LunNotice(IQN, 7, "null+delay", 512, 4096)]
    assert told.calls[1:] == [
        ("target_started", TargetNotice(IQN, addresses)),
        ("lun_added", luns[0]),
        ("lun_added", luns[1]),
        ("lun_removed", luns[0]),
        ("lun_removed", luns[1]),
        ("target_stopped", TargetNotice(IQN, addresses)),
        ("server_stopped", notice),
    ]


def test_a_server_that_does_not_start_is_told_of_nothing(tmp_path: Path) -> None:
    told = Told()
    with running(tmp_path, one_target("ram:1M"), told.plugin) as target:
        port = target.address[1]
        other = Told()
        with pytest.raises(RunError, match="in use"):
            make_server(tmp_path, one_target("ram:1M", more=f'portals = ["127.0.0.1:{port}"]'), other.plugin)
    assert other.calls == []


def test_logins_that_fail_are_told_with_their_status(tmp_path: Path) -> None:
    told = Told()
    with running(tmp_path, CHAP, told.plugin) as target:
        for iqn in (IQN, "iqn.2026-11.example:x"):
            with pytest.raises(LoginError):
                Session.connect(target.address, iqn, initiator="iqn.2026-11.example:eve", chap=("alice", "wrong"))
        logins: list[LoginNotice] = eventually(
            lambda: len(found := [what for hook, what in told.calls if hook == "login_failed"]) == 2 and found
        )
    assert [(login.initiator, login.status) for login in logins] == [
        ("iqn.2026-11.example:eve", 0x0201), ("iqn.2026-11.example:eve", 0x0203),
    ]  # fmt: skip
    assert logins[0].target == IQN
    assert all(login.remote.startswith("127.0.0.1:") and login.reason for login in logins)


def test_a_plugin_asks_for_status_and_sessions(tmp_path: Path) -> None:
    told = Told()
    with (
        running(tmp_path, one_target("ram:1M", limits="max_connections = 2"), told.plugin) as target,
        target.connect() as session,
    ):
        with target.connect(name="b", isid=0x400001370009), pytest.raises(LoginError, match="0302"):
            Session.connect(target.address, IQN)
        status = told.view.status()
        assert (status["limits"], status["drops"]) == ({"max_connections": 1}, {"trace": 0, "plugins": 0})
        assert 0 < status["loop_cpu"] <= status["cpu"]
        assert [each["initiator"] for each in told.view.sessions()] == ["iqn.2026-11.example:a"]
        assert session.command(read10(0, 1), read=512).good


def test_a_plugin_keeps_sums_and_reads_them(tmp_path: Path) -> None:
    told = Told()
    with running(tmp_path, one_target("ram:1M"), told.plugin) as target:
        sums = told.view.keep_sums()
        with target.connect() as session:
            for _ in range(7):
                assert session.command(write10(0, 8), write=bytes(4096)).good
            for _ in range(3):
                assert session.command(read10(0, 8), read=4096).good
            rows = {row.opcode: row for row in sums.read().commands}
            assert (rows[0x2A].commands, rows[0x2A].out_bytes, rows[0x28].ended) == (7, 7 * 4096, 3)
            assert rows[0x28].conn.initiator == "iqn.2026-11.example:a"
            first = sums.read(reset=True)
            assert session.command(read10(0, 8), read=4096).good
        eventually(lambda: not target.server.connections.tcp)
        assert sums._sums.connections == 0  # type: ignore[attr-defined]
        second = sums.read(reset=True)  # the connection is closed, and what it did not lost
        assert [(row.opcode, row.commands) for row in second.commands if row.opcode == 0x28] == [(0x28, 1)]
        assert second.since == first.time
        assert sums.read().commands == []
        sums.close()
        sums.close()
        assert target.server.probes.mask == 0


@pytest.mark.parametrize("path", ["native", "python"])
def test_a_plugins_sums_are_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """Between two of them all others have their turn; what is counted meanwhile is in one of the two reads."""
    if path == "native":
        needs_data_path()
    monkeypatch.setattr(view, "_PIECE_NS", 0)
    told = Told()
    with running(tmp_path, one_target("ram:1M", more=f'data_path = "{path}"'), told.plugin) as target:
        sums = told.view.keep_sums()
        sessions = [target.connect(name=f"s{number}", isid=0x400001370000 + number) for number in range(5)]
        for number, session in enumerate(sessions):
            for _ in range(number + 1):
                assert session.command(read10(0, 8), read=4096).good
        asked: list[str] = []
        ask = LoopCalls.ask

        def counting(self: LoopCalls, question: Callable[[], Any]) -> Any:
            answer = ask(self, question)
            asked.append("")
            if len(asked) == 2:  # some are read, and others are not
                for session in sessions:
                    assert session.command(read10(0, 8), read=4096).good
                sessions.pop(0).logout()
                sessions.pop().logout()
                eventually(lambda: len(target.server.connections.tcp) == 3)
            return answer

        monkeypatch.setattr(LoopCalls, "ask", counting)
        rows = sums.read(reset=True).commands
        assert len(asked) >= 5
        asked[:] = [""] * 9
        rows += sums.read(reset=True).commands
        assert sum(row.commands for row in rows if row.opcode == 0x28) == 1 + 2 + 3 + 4 + 5 + 5
        assert sums.read(reset=True).commands == []
        for session in sessions:
            session.logout()


def test_who_asks_a_server_that_has_ended_is_told_so(tmp_path: Path) -> None:
    told = Told()
    outcome: list[str] = []

    def ask() -> None:
        try:
            while True:
                told.view.status()
        except ServerGone as error:
            outcome.append(str(error))

    with running(tmp_path, one_target("ram:1M"), told.plugin):
        sums = told.view.keep_sums()
        thread = threading.Thread(target=ask)
        thread.start()
    thread.join()
    assert outcome == ["the server has ended"]
    with pytest.raises(ServerGone):
        sums.read()
    sums.close()


def test_a_plugin_that_refuses_its_options_keeps_the_server_from_starting(tmp_path: Path) -> None:
    def configure(options: dict[str, str]) -> None:
        raise ValueError(f"{options['color']} is no color")

    hooks = plugin(register_options=lambda register: register(Option("color", str, "red", "")), configure=configure)
    with pytest.raises(RunError, match="plugin test1: ValueError: mud is no color"):
        make_server(tmp_path, one_target("ram:1M") + '[plugin.test1]\ncolor = "mud"\n', hooks)


def test_a_plugin_may_refuse_a_change_and_nothing_of_it_is_left(tmp_path: Path) -> None:
    asked: list[Any] = []

    def refuse(document: Any) -> None:
        asked.append(document)
        if len(asked) < 3:
            raise ValueError("not\nnow")

    text = one_target("ram:1M", more='name = "asked"')
    with running(tmp_path, text, plugin(configuration_changing=refuse)), Control("asked") as control:
        before = control.get()
        target = before.document["target"][0]
        document = {**before.document, "target": [{**target, "lun": [*target["lun"], {"store": "ram:2M"}]}]}
        for _ in range(2):
            with pytest.raises(ControlError, match=r"^plugin .*: ValueError: not now$"):
                control.apply(document)
        assert control.apply(document, dry_run=True).generation == before.generation
        assert control.get() == before
        control.apply(document)
        assert [len(each["target"][0]["lun"]) for each in asked] == [2] * 3
        control.apply(document)  # nothing would change, so nobody is asked
        assert len(asked) == 3
