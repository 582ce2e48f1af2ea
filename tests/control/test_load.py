"""A verified load runs through an apply with a LUN added, one resized, one removed, a user changed, a portal added."""

from __future__ import annotations

import random
import struct
import threading
from pathlib import Path

import pytest
from clients.disk import needs_iscsi_driver, run
from server.harness import running
from support.tools import needs

from iscsitools.control import Control
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


def test_the_load_would_notice(tmp_path: Path) -> None:
    with running(tmp_path, SITE.format(busy=BUSY, other=OTHER, folder=tmp_path)) as server, Control("load") as control:
        load = Load(connect(server.address, OTHER), 3)
        load.wait_for(5)
        control.remove_lun(OTHER, 0, in_use="force")
        load.join(60)
        load.session.close()
        with pytest.raises(AssertionError):
            load.end()
