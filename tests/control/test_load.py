"""A verified load runs through an apply with a LUN added, one resized, one removed, a user changed, a portal added."""

from __future__ import annotations

import random
import struct
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from clients.disk import needs_iscsi_driver, run
from server.harness import running
from support.target import start_target
from support.tools import needs

from iscsitools.control import Control
from iscsitools.initiator import ConnectionClosedError
from iscsitools.initiator.session import Session

BUSY = "iqn.2026-11.example:busy"
OTHER = "iqn.2026-11.example:other"
BLOCKS = 2048
ROUNDS = 6

SITE = """\
name = "load"
portals = ["127.0.0.1:0"]
[[target]]
iqn = "{busy}"
auth = {{ method = "chap", users = [{{ name = "alice", secret = "correct horse battery" }}] }}
lun = [{{ store = "file:{folder}/a,size=1M" }}, {{ store = "ram:1M" }}, {{ store = "ram:1M" }}]
[[target]]
iqn = "{other}"
lun = [{{ store = "file:{folder}/b,size=1M" }}]
"""
NOTICES = {(0x3F, 0x0E), (0x2A, 0x09)}
"""REPORTED LUNS DATA HAS CHANGED, CAPACITY DATA HAS CHANGED."""


class Load(threading.Thread):
    """Writes and reads back random blocks of LUN 0 until :attr:`stop` is set; ``notices``: unit attentions met."""

    def __init__(self, session: Session, seed: int) -> None:
        super().__init__(name=f"load {seed}")
        self.session = session
        self.stop = threading.Event()
        self.done = 0
        self.notices: set[tuple[int, int]] = set()
        self.error: BaseException | None = None
        self._random = random.Random(seed)
        self._content: dict[int, bytes] = {}
        self.start()

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                self._step()
        except BaseException as error:
            self.error = error

    def _step(self) -> None:
        lba, count = self._random.randrange(BLOCKS - 16), self._random.randrange(1, 16)
        data = self._random.randbytes(512 * count)
        self._command(0x8A, lba, count, write=data)
        self._content |= {lba + n: data[n * 512 : n * 512 + 512] for n in range(count)}
        known = self._random.choice(list(self._content))
        assert self._command(0x88, known, 1, read=512) == self._content[known], f"block {known}"
        self.done += 1

    def _command(self, opcode: int, lba: int, count: int, read: int = 0, write: bytes = b"") -> bytes:
        cdb = struct.pack(">BBQIBB", opcode, 0, lba, count, 0, 0)
        for _ in range(4):
            result = self.session.command(cdb, 0, read=read, write=write)
            if result.good:
                return result.data
            assert result.status == 2
            assert result.sense[2] & 0x0F == 6, result.sense.hex()
            self.notices.add((result.sense[12], result.sense[13]))
        raise AssertionError("one unit attention after the other")

    def wait_for(self, more: int) -> None:
        """Wait until it has done so much more, or failed."""
        wanted = self.done + more
        while self.done < wanted and self.is_alive():
            self.join(0.005)

    def end(self) -> None:
        self.stop.set()
        self.join(60)
        assert self.error is None, self.error


def connect(address: tuple[str, int], target: str, **how: object) -> Session:
    session = Session.connect(address, target, **how)  # type: ignore[arg-type]
    session.command(bytes(6), 0)
    return session


def test_a_verified_load_runs_through_applies(tmp_path: Path) -> None:
    with running(tmp_path, SITE.format(busy=BUSY, other=OTHER, folder=tmp_path)) as server, Control("load") as control:
        chap = ("alice", "correct horse battery")
        loads = [Load(connect(server.address, BUSY, chap=chap), 1), Load(connect(server.address, OTHER), 2)]
        before = control.get().document
        after = control.get().document
        luns = after["target"][0]["lun"]
        luns.append({"number": 9, "store": "ram:3M"})
        luns[0]["store"]["size"] = "2M"
        del luns[2]
        after["target"][0]["auth"]["users"] = [{"name": "alice", "secret": "another horse battery"}]
        after["portals"].append("[::1]:0")
        for load in loads:
            load.wait_for(20)
        lines = control.apply(after).lines
        assert len(lines) == 5
        for _ in range(ROUNDS):
            before["target"][0]["lun"][0]["store"]["size"] = "2M"
            for document in (before, after):
                for load in loads:
                    load.wait_for(5)
                control.apply(document)
        for load in loads:
            load.end()
        assert loads[0].notices == NOTICES
        assert loads[1].notices == set(), "a session that has nothing to do with it was told something"
        for load in loads:
            load.session.close()


def test_qemu_runs_through_an_apply(tmp_path: Path) -> None:
    qemu_img = needs("qemu-img", "qemu-utils")
    needs_iscsi_driver()
    image = tmp_path / "image"
    image.write_bytes(random.Random(5).randbytes(32 << 20))
    text = f'name = "qemu"\n[[target]]\niqn = "{OTHER}"\nlun = [{{ store = "ram:32M" }}, {{ store = "ram:1M" }}]\n'
    with running(tmp_path, text) as server, Control("qemu") as control:
        url = f"iscsi://{server.address[0]}:{server.address[1]}/{OTHER}/0"
        failed: list[BaseException] = []

        def convert() -> None:
            try:
                run(qemu_img, "convert", "-n", "-f", "raw", "-O", "raw", str(image), url)
                run(qemu_img, "compare", "-f", "raw", "-F", "raw", str(image), url)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=convert)
        thread.start()
        rounds = 0
        while thread.is_alive() or rounds < ROUNDS:
            control.add_lun(OTHER, "ram:1M", 7)
            control.resize_lun(OTHER, 1, "2M" if rounds % 2 else "3M", in_use="force")
            control.remove_lun(OTHER, 7, in_use="force")
            rounds += 1
        thread.join()
        assert failed == []


class ReturningLoad(Load):
    """A load that logs in anew when its connection is lost, and repeats what had no answer. ``returns``: how often."""

    def __init__(self, connect_again: Callable[[], Session], seed: int) -> None:
        self.returns = 0
        self._connect_again = connect_again
        super().__init__(connect_again(), seed)

    def _command(self, opcode: int, lba: int, count: int, read: int = 0, write: bytes = b"") -> bytes:
        try:
            return super()._command(opcode, lba, count, read, write)
        except (OSError, ConnectionClosedError):
            self.returns += 1
            self.session.close()
            self.session = self._connect_again()
            return super()._command(opcode, lba, count, read, write)


def test_a_verified_load_runs_through_applies_and_takeovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An apply of everything, load that came by the portal that it added, then two takeovers: each one reconnect."""
    (tmp_path / "site.toml").write_text(SITE.format(busy=BUSY, other=OTHER, folder=tmp_path))
    (tmp_path / "site.toml").chmod(0o600)
    with start_target(tmp_path, "--config", str(tmp_path / "site.toml"), portals=(), awaited=1) as first:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(first.runtime))
        chap = ["alice", "correct horse battery"]
        busy = ReturningLoad(lambda: Session.connect(first.addresses[0], BUSY, chap=(chap[0], chap[1])), 1)
        loads = [busy]
        busy.wait_for(20)
        with Control("load") as control:
            document = control.get().document
            luns = document["target"][0]["lun"]
            luns.append({"number": 9, "store": "ram:3M"})
            luns[0]["store"]["size"] = "2M"
            del luns[2]
            chap[1] = "another horse battery"
            document["target"][0]["auth"]["users"] = [{"name": "alice", "secret": chap[1]}]
            document["portals"].append("127.0.0.2:0")
            assert len(control.apply(document).lines) == 5
            host, _, port = control.tree()["portals"][1].rpartition(":")
        loads.append(ReturningLoad(lambda: Session.connect((host, int(port)), OTHER), 2))
        for load in loads:
            load.wait_for(20)
        with ExitStack() as servers:
            for returns in (1, 2):
                here = {"XDG_RUNTIME_DIR": str(first.runtime)}
                after = servers.enter_context(
                    start_target(tmp_path, "--takeover", "--name", "load", env=here, portals=(), awaited=2)
                )
                for load in loads:
                    load.wait_for(20)
                assert [load.returns for load in loads] == [returns] * 2
            for load in loads:
                load.end()
            for load in loads:
                load.session.close()
            assert first.process.wait(60) == 0
            assert "rror" not in after.stop()


def test_qemu_runs_through_a_takeover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Libiscsi logs in anew by itself, and QEMU sees no error."""
    qemu_img = needs("qemu-img", "qemu-utils")
    needs_iscsi_driver()
    image = tmp_path / "image"
    image.write_bytes(random.Random(5).randbytes(64 << 20))
    arguments = ("--iqn", OTHER, "--lun", f"file:{tmp_path / 'disk'},size=64M", "--name", "qemu")
    with start_target(tmp_path, *arguments) as first, ExitStack() as servers:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(first.runtime))
        url = f"iscsi://{first.portal}/{OTHER}/0"
        failed: list[BaseException] = []

        def convert() -> None:
            try:
                run(qemu_img, "convert", "-n", "-r", "8M", "-f", "raw", "-O", "raw", str(image), url)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=convert)
        thread.start()
        with Control("qemu") as control:
            while not sum(session["commands"] > 8 for session in control.tree()["targets"][0]["sessions"]):
                assert thread.is_alive(), "it was done before anything could be taken over"
        here = {"XDG_RUNTIME_DIR": str(first.runtime)}
        servers.enter_context(start_target(tmp_path, "--takeover", "--name", "qemu", env=here, portals=(), awaited=1))
        assert thread.is_alive(), "it was done before it was taken over"
        thread.join()
        assert failed == []
        run(qemu_img, "compare", "-f", "raw", "-F", "raw", str(image), url)


def test_the_load_would_notice(tmp_path: Path) -> None:
    with running(tmp_path, SITE.format(busy=BUSY, other=OTHER, folder=tmp_path)) as server, Control("load") as control:
        load = Load(connect(server.address, OTHER), 3)
        load.wait_for(5)
        control.remove_lun(OTHER, 0, in_use="force")
        load.join(60)
        load.session.close()
        with pytest.raises(AssertionError):
            load.end()
