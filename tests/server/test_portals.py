"""Several targets, units and portals; who may log in to what; how many at once."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from iscsitools.initiator import ConnectionClosedError, LoginError, Session

from .harness import IQN, Running, eventually, one_target, plugin, running

SEVERAL = """
portals = ["127.0.0.1:0", "[::1]:0", "127.0.0.2:0"]
[discovery]
method = "chap"
users = [{ name = "finder", secret = "who is out there" }]
[[target]]
iqn = "iqn.2026-11.example:one"
lun = [{ number = 0, store = "ram:1M" }, { number = 7, store = "ram:2M" }, { number = 300, store = "ram:3M" }]
[[target]]
iqn = "iqn.2026-11.example:two"
initiators = ["iqn.2026-11.example:a*"]
lun = [{ store = "ram:4M", block_size = 4096 }]
[[target]]
iqn = "iqn.2026-11.example:three"
lun = [{ store = "ram:5M" }]
[target.auth]
method = "chap"
users = [{ name = "alice", secret = "correct horse battery" }]
"""
ONE, TWO, THREE = (f"iqn.2026-11.example:{name}" for name in ("one", "two", "three"))
FINDER = ("finder", "who is out there")
ALICE = ("alice", "correct horse battery")


def log_in(target: Running, iqn: str = IQN, portal: int = 0, name: str = "a", **how: Any) -> Session:
    return Session.connect(target.addresses[portal], iqn, initiator=f"iqn.2026-11.example:{name}", **how)


def status(target: Running, iqn: str = IQN, **how: Any) -> tuple[int, int]:
    with pytest.raises(LoginError) as caught:
        log_in(target, iqn, **how)
    return caught.value.status


def test_each_target_has_its_own_units_at_every_portal(tmp_path: Path) -> None:
    with running(tmp_path, SEVERAL) as target:
        for portal in range(3):
            with log_in(target, ONE, portal) as session:
                assert [session.read_capacity(lun) for lun in (0, 7, 300)] == [(2048, 512), (4096, 512), (6144, 512)]
                session.write(0, bytes([portal + 1]) * 512, lun=7)
                listed = session.command(bytes.fromhex("a00000000000000001000000"), read=256).data
                luns = [listed[at : at + 8].hex() for at in range(8, 8 + int.from_bytes(listed[:4], "big"), 8)]
                assert luns == ["0000000000000000", "0007000000000000", "412c000000000000"]
            with log_in(target, TWO, portal) as session:
                assert session.read_capacity() == (1024, 4096)
        with log_in(target, ONE) as session:
            session.read_capacity(7)
            assert session.read(0, 1, lun=7) == b"\3" * 512


@pytest.mark.parametrize("portal", range(3))
def test_send_targets_shows_every_address_of_what_one_may_see(tmp_path: Path, portal: int) -> None:
    with running(tmp_path, SEVERAL) as target:
        ports = [port for _, port in target.addresses]
        addresses = [f"127.0.0.1:{ports[0]},1", f"[::1]:{ports[1]},1", f"127.0.0.2:{ports[2]},1"]

        def shown(name: str, iqns: tuple[str, ...]) -> None:
            with log_in(target, "", portal, name, discovery=True, chap=FINDER) as session:
                assert session.send_targets() == [
                    pair
                    for iqn in iqns
                    for pair in (("TargetName", iqn), *(("TargetAddress", address) for address in addresses))
                ]
                assert session.logout().response == 0

        shown("a", (ONE, TWO, THREE))
        shown("b", (ONE, THREE))


def test_a_wildcard_portal_is_shown_as_the_address_one_came_to(tmp_path: Path) -> None:
    with running(tmp_path, one_target("ram:1M", more='portals = ["0.0.0.0:0"]')) as target:
        port = target.addresses[0][1]
        for host in ("127.0.0.1", "127.0.0.3"):
            with Session.connect((host, port), discovery=True) as session:
                assert session.send_targets() == [("TargetName", IQN), ("TargetAddress", f"{host}:{port},1")]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_answers_leave_at_once_and_a_peer_that_vanished_is_noticed(tmp_path: Path, host: str) -> None:
    """Also where an accepted socket has its options from the one that listens."""
    with running(tmp_path, one_target("ram:1M", more=f'portals = ["{host}:0"]')) as target:
        port = target.address[1]
        with Session.connect(("127.0.0.1", port), IQN) as session:
            (conn,) = target.server.connections.tcp
            sock = target.server.connections.tcp[conn].sock
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert not sock.getblocking()
            assert conn.info.local == f"127.0.0.1:{port}"
            assert conn.info.remote == "{}:{}".format(*session.wire.sock.getsockname())


def test_access_is_per_target(tmp_path: Path) -> None:
    with running(tmp_path, SEVERAL) as target:
        assert status(target, TWO, name="b") == (2, 3)
        assert status(target, THREE) == (2, 1)
        assert status(target, THREE, chap=FINDER) == (2, 1)
        assert status(target, "", discovery=True) == (2, 1)
        assert status(target, "", discovery=True, chap=ALICE) == (2, 1)
        assert status(target, ONE + "x") == (2, 3)
        log_in(target, TWO, name="a2").close()
        log_in(target, THREE, chap=ALICE, name="b").close()
        log_in(target, "", discovery=True, chap=FINDER).close()


def test_no_more_sessions_than_allowed_and_reinstatement_still_works(tmp_path: Path) -> None:
    with running(tmp_path, one_target("ram:1M", limits="max_sessions = 2")) as target:
        first, second = log_in(target, name="a"), log_in(target, name="b")
        assert status(target, name="c") == (3, 2)
        again = log_in(target, name="a")
        with pytest.raises(ConnectionClosedError):
            first.pump()
        assert len(target.server.table) == 2
        second.logout()
        log_in(target, name="c").close()
        for session in (first, again):
            session.close()


def test_no_more_connections_than_allowed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with running(tmp_path, one_target("ram:1M", limits="max_connections = 2")) as target:
        first, second = log_in(target, name="a"), log_in(target, name="b")
        for _ in range(3):
            assert status(target, name="c") == (3, 2)  # an answer, not a reset
        assert first.nop(b"x").data == b"x"
        second.close()
        eventually(lambda: len(target.server.connections.tcp) == 1)
        log_in(target, name="b").close()
        first.close()
    reasons = [r.__dict__["reason"] for r in caplog.records if r.getMessage() == "login failed"]
    assert reasons == ["as many connections as allowed"] * 3


def test_connections_that_do_not_log_in_keep_nobody_out(tmp_path: Path) -> None:
    """They give way, the oldest first; those that are logged in stay."""
    limits = "max_connections = 4\nlogin_timeout = 0"
    with running(tmp_path, one_target("ram:1M", limits=limits)) as target, log_in(target, name="a") as first:
        silent = []
        for _ in range(20):
            silent.append(Session(target.address))
            eventually(lambda: max(conn.info.ident for conn in list(target.server.connections.tcp)) == len(silent) + 1)
        assert len(target.server.connections.tcp) == 4
        for session in silent[:17]:
            with pytest.raises(ConnectionClosedError):
                session.recv_pdu()
        with log_in(target, name="b") as second:
            for session in (first, second):
                assert session.nop(b"x").data == b"x"
        for session in silent:
            session.close()


class Source:
    """An authenticator that answers as the test says."""

    def __init__(self, name: str = "vault") -> None:
        self.name = name
        self.go = threading.Event()
        self.asked: list[tuple[str, str]] = []
        self.answer: Any = b"correct horse battery"

    def secret_for(self, initiator: str, user: str) -> bytes | None:
        self.asked.append((initiator, user))
        self.go.wait()
        if isinstance(self.answer, BaseException):
            raise self.answer
        answer: bytes | None = self.answer
        return answer


def authenticators(*sources: Source) -> Any:
    def register_authenticators(register: Any) -> None:
        for source in sources:
            register(source)

    return plugin(register_authenticators=register_authenticators)


def guarded(*names: str, timeout: float = 30.0) -> str:
    """A target for each authenticator, and an open one."""
    targets = "".join(
        f'[[target]]\niqn = "iqn.2026-11.example:{name}"\nlun = [{{ store = "ram:1M" }}]\n'
        f'[target.auth]\nmethod = "chap"\nauthenticator = "{name}"\n'
        for name in names
    )
    return one_target("ram:1M", limits=f"login_timeout = {timeout}") + targets


def test_an_authenticator_that_blocks_stops_only_its_own_logins(tmp_path: Path) -> None:
    slow, quick = Source("slow"), Source("quick")
    quick.go.set()
    with running(tmp_path, guarded("slow", "quick"), authenticators(slow, quick)) as target:
        waiting: list[Session] = []

        def wait_for_login(number: int) -> None:
            waiting.append(log_in(target, "iqn.2026-11.example:slow", chap=ALICE, name=f"w{number}"))

        threads = [threading.Thread(target=wait_for_login, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(slow.asked) == 4, "four look-ups at once")
        log_in(target, "iqn.2026-11.example:quick", chap=ALICE).close()
        log_in(target).close()
        slow.go.set()
        for thread in threads:
            thread.join()
        for session in waiting:
            assert session.nop(b"in").data == b"in"
            session.close()
        assert quick.asked == [("iqn.2026-11.example:a", "alice")]


def test_an_authenticator_that_never_answers_costs_the_login_its_time(tmp_path: Path) -> None:
    source = Source()
    with running(tmp_path, guarded("vault", timeout=1.0), authenticators(source)) as target:
        for _ in range(2):
            with pytest.raises(ConnectionClosedError):
                log_in(target, "iqn.2026-11.example:vault", chap=ALICE)
        assert len(source.asked) == 2
        eventually(lambda: not target.server.connections.tcp)
        source.go.set()  # the late answers go nowhere
        source.answer = b"another secret!"
        assert status(target, "iqn.2026-11.example:vault", chap=ALICE) == (2, 1)
        log_in(target).close()


@pytest.mark.parametrize(
    "answer", [KeyError("alice"), SystemExit(2), GeneratorExit(), None, "a text", b"another secret!"], ids=repr
)
def test_an_authenticator_that_raises_or_talks_nonsense_refuses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, answer: Any
) -> None:
    source = Source()
    source.go.set()
    source.answer = answer
    with running(tmp_path, guarded("vault"), authenticators(source)) as target:
        assert status(target, "iqn.2026-11.example:vault", chap=ALICE) == (2, 1)
        source.answer = b"correct horse battery"
        log_in(target, "iqn.2026-11.example:vault", chap=ALICE).close()
    failed = [r for r in caplog.records if "authenticator vault: looking up a CHAP secret failed" in r.getMessage()]
    assert len(failed) == (answer is not None and not isinstance(answer, bytes))
    assert "horse" not in caplog.text
    assert not any(r.exc_info for r in caplog.records)


def test_questions_that_nobody_answers_do_not_pile_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from iscsitools.server import secret_lookup

    monkeypatch.setattr(secret_lookup, "_WAITING", 2)
    source = Source()
    with running(tmp_path, guarded("vault", timeout=1.0), authenticators(source)) as target:
        for _ in range(2):
            with pytest.raises(ConnectionClosedError):
                log_in(target, "iqn.2026-11.example:vault", chap=ALICE)
        assert status(target, "iqn.2026-11.example:vault", chap=ALICE) == (2, 1)
        assert len(source.asked) == 2
        source.go.set()
    assert "authenticator vault does not answer; login refused" in caplog.text


def test_an_authenticator_that_is_not_there(tmp_path: Path) -> None:
    from iscsitools.errors import UserError

    with pytest.raises(UserError, match="vault"), running(tmp_path, guarded("vault")):
        pass
