"""Another process takes over from a running server, or cannot, and then the running one goes on."""

from __future__ import annotations

import os
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.target import RunningTarget, start_target

from iscsitools.control import Control
from iscsitools.initiator import ConnectionClosedError, Session

from .harness import IQN, TEST_UNIT_READY, eventually, read10, write10

NAME = "taken"
OUT_REGISTER, OUT_RESERVE = 0, 1


def persistent(session: Session, action: int, key: int, new: int = 0, kind: int = 0) -> bool:
    data = struct.pack(">QQ8x", key, new)
    cdb = struct.pack(">BBBxxIx", 0x5F, action, kind, len(data)) + b"\0"
    return session.command(cdb, write=data).good


def sense(session: Session, lun: int = 0) -> tuple[int, int]:
    result = session.command(TEST_UNIT_READY, lun)
    return (0, 0) if result.good else (result.sense[12], result.sense[13])


def ready(session: Session, *luns: int) -> Session:
    for lun in luns or (0,):
        while not session.command(TEST_UNIT_READY, lun).good:
            pass
    return session


def clients_of_faults(control: Control) -> list[str]:
    return [fault["client"] for disk in control.faults() for fault in disk["faults"]]


def successor(target: RunningTarget, folder: Path, *options: str) -> RunningTarget:
    """A process that takes over from a target, by its own sockets."""
    here = {"XDG_RUNTIME_DIR": str(target.runtime)}
    return start_target(folder, "--takeover", "--name", NAME, *options, env=here, portals=(), awaited=1)


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningTarget]:
    luns = ("file:disk.img,size=1M", "ram:3M", "file+cow:disk2.img,size=1M", "ram+delay:1M")
    (tmp_path / "disk2.img").write_bytes(b"b" * (1 << 20))
    monkeypatch.chdir(tmp_path)
    arguments = [part for lun in luns for part in ("--lun", lun.replace(",size=1M", "") if "cow" in lun else lun)]
    with start_target(tmp_path, "--iqn", IQN, *arguments, "--name", NAME, "--provider", "none") as running_target:
        monkeypatch.chdir("/")  # who takes over finds its disks all the same
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(running_target.runtime))
        yield running_target


def test_what_it_served_is_served_on(target: RunningTarget, tmp_path: Path) -> None:
    address = target.addresses[0]
    with Control(NAME) as control:
        control.move_lun(IQN, 1, 9)
        control.set_faults(IQN, 3, {"delay.read": "1ms"}, client="iqn.2026-11.example:nobody")
        before = control.get()
        serials = [lun["serial"] for lun in control.tree()["targets"][0]["luns"]]
    session = ready(Session.connect(address, IQN, initiator="iqn.2026-11.example:a"), 0, 2, 3, 9)
    assert persistent(session, OUT_REGISTER, 0, 0xABC)  # without APTPL: no file has it
    assert persistent(session, OUT_RESERVE, 0xABC, kind=1)
    for lun, byte in ((0, b"f"), (9, b"r"), (2, b"c")):
        session.write(100, byte * 512, lun)
    with Control(NAME) as control:
        control.resize_lun(IQN, 9, "4M")  # an attention that nobody has taken
    with successor(target, tmp_path) as after:
        assert target.process.wait(30) == 0
        assert after.addresses == [address]
        with pytest.raises((ConnectionClosedError, OSError)):
            session.command(TEST_UNIT_READY)
        session.close()
        again = Session.connect(address, IQN, initiator="iqn.2026-11.example:a")
        assert [sense(again), sense(again)] == [(0x29, 0x07), (0, 0)]  # I_T NEXUS LOSS OCCURRED, and nothing was reset
        assert [sense(again, 9) for _ in range(3)] == [(0x29, 0x07), (0x2A, 0x09), (0, 0)]
        ready(again, 2, 3)
        assert [again.read(100, 1, lun) for lun in (0, 9, 2)] == [b"f" * 512, b"r" * 512, b"c" * 512]
        assert again.read(99, 1, 2) == b"b" * 512
        assert again.read_capacity(9) == (8192, 512)
        other = Session.connect(address, IQN, initiator="iqn.2026-11.example:b")
        assert sense(other) == (0x29, 0x00)  # which the server before did not know
        assert other.command(write10(0, 1), write=bytes(512)).status == 0x18  # RESERVATION CONFLICT
        assert again.command(write10(0, 1), write=bytes(512)).good
        assert persistent(again, OUT_REGISTER, 0xABC, 0xDEF)
        with Control(NAME) as control:
            assert control.get().generation == before.generation + 1
            assert [lun["serial"] for lun in control.tree()["targets"][0]["luns"]] == serials
            assert clients_of_faults(control) == ["iqn.2026-11.example:nobody"]
            control.add_lun(IQN, "ram:1M", 5)
        again.close()
        other.close()
    assert "Traceback" not in after.output + target.output


def test_a_configuration_that_is_given_is_served_instead(target: RunningTarget, tmp_path: Path) -> None:
    (tmp_path / "new.toml").write_text(
        f'portals = ["127.0.0.1:0"]\n[[target]]\niqn = "{IQN}"\nalias = "new"\nlun = [{{ store = "ram:8M" }}]\n'
    )
    with successor(target, tmp_path, "--config", str(tmp_path / "new.toml")) as after:
        assert after.addresses == target.addresses
        with Session.connect(after.addresses[0], IQN) as session:
            assert sense(session) == (0x29, 0x00)
            assert session.read_capacity() == (16384, 512)


WRONG = {
    "targets = 1": "targets: unknown key",
    'portals = ["127.0.0.1:0", "127.0.0.1:TAKEN"]': "Address already in use",
    'portals = ["127.0.0.1:0"]\n[[target]]\niqn = "iqn.2026-11.example:e"\nlun = [{ store = "file:EMPTY" }]':
        "is empty; add size=SIZE",
}  # fmt: skip


def test_one_that_cannot_start_leaves_the_running_one_as_it_was(target: RunningTarget, tmp_path: Path) -> None:
    session = ready(Session.connect(target.addresses[0], IQN, initiator="iqn.2026-11.example:a"), 0, 1, 2, 3)
    for lun, byte in ((0, b"f"), (1, b"r"), (2, b"c")):
        session.write(100, byte * 512, lun)
    with Control(NAME) as control:
        control.set_faults(IQN, 3, {"delay.read": "1ms"}, client="iqn.2026-11.example:nobody")
    (tmp_path / "empty").touch()
    with pytest.raises(RuntimeError, match="no running server is named"):
        successor(target, tmp_path, "--name", "nobody")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for text, why in WRONG.items():
            text = text.replace("TAKEN", str(taken.getsockname()[1])).replace("EMPTY", str(tmp_path / "empty"))
            (tmp_path / "new.toml").write_text(f'{text}\n[[target]]\niqn = "{IQN}"\nlun = [{{ store = "ram:1M" }}]\n')
            with pytest.raises(RuntimeError, match=why):
                successor(target, tmp_path, "--config", str(tmp_path / "new.toml"))
            for _ in range(2):  # off the data path, and on it
                assert [session.read(100, 1, lun) for lun in (0, 1, 2)] == [b"f" * 512, b"r" * 512, b"c" * 512]
                for lun in (0, 1, 2, 3):
                    assert session.command(write10(7, 1), lun, write=b"n" * 512).good
                    assert session.command(read10(7, 1), lun, read=512).data == b"n" * 512
    ready(Session.connect(target.addresses[0], IQN)).close()
    with Control(NAME) as control:
        assert clients_of_faults(control) == ["iqn.2026-11.example:nobody"]
    session.close()
    with successor(target, tmp_path) as after, Session.connect(after.addresses[0], IQN) as again:  # the next one can
        ready(again, 1)
        assert again.read(100, 1, 1) == b"r" * 512


def test_a_signal_has_it_start_its_successor(target: RunningTarget) -> None:
    session = ready(Session.connect(target.addresses[0], IQN, initiator="iqn.2026-11.example:a"), 1)
    session.write(0, b"s" * 512, 1)
    session.close()
    target.process.send_signal(signal.SIGUSR2)
    assert target.process.wait(60) == 0
    with Session.connect(target.addresses[0], IQN, initiator="iqn.2026-11.example:a") as again:
        ready(again, 1)
        assert again.read(0, 1, 1) == b"s" * 512
        with Control(NAME) as control:
            assert control.name == NAME
    eventually(lambda: "the server before this one has ended" in target.output)
    (pid,) = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdecimal() and _takes_over(p, target)]
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not Path(f"/proc/{pid}").exists() or "State:\tZ" in Path(f"/proc/{pid}/status").read_text())


def _takes_over(process: Path, target: RunningTarget) -> bool:
    try:
        command = (process / "cmdline").read_bytes()
        return b"--takeover" in command and str(target.runtime).encode() in (process / "environ").read_bytes()
    except OSError:
        return False
