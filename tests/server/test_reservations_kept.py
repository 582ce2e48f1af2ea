"""Persistent reservations over the death of the server: with APTPL, or where a LUN keeps them."""

from __future__ import annotations

import os
import random
import stat
import struct
import threading
from pathlib import Path

import pytest
from support.target import RunningTarget, start_target

from iscsitools.initiator import ConnectionClosedError, Result, Session
from iscsitools.scsi.core.executor import InlineExecutor
from iscsitools.scsi.core.registrations import Registrations
from iscsitools.server.kept_file import KeptFile

IQN = "iqn.2026-11.example:kept"
NAA = "3000000000000077"
REGISTER, RESERVE, PREEMPT = 6, 1, 4
REGISTRANTS_ONLY = 5
CONFLICT = 0x18


def serve(folder: Path, **lun: str) -> RunningTarget:
    options = "".join(f",{name}={value}" for name, value in lun.items())
    return start_target(folder, "--iqn", IQN, "--lun", f"file:{folder}/disk.img,size=1M,naa={NAA}{options}")


def connect(target: RunningTarget, number: int) -> Session:
    session = Session.connect(target.addresses[0], IQN, isid=0x400001370000 + number)
    session.command(bytes(6))
    return session


def out(session: Session, action: int, key: int, new: int, aptpl: bool = True) -> Result:
    cdb = struct.pack(">BBBxxIx", 0x5F, action, REGISTRANTS_ONLY, 24)
    return session.command(cdb, write=struct.pack(">QQ4xBxxx", key, new, aptpl))


def read_keys(session: Session) -> list[int]:
    data = session.command(bytes.fromhex("5e000000000000100000"), read=4096).data[8:]
    return [key for (key,) in struct.iter_unpack(">Q", data)]


def write(session: Session) -> int:
    return session.command(bytes.fromhex("2a000000000000000100"), write=bytes(512)).status


def test_a_fenced_node_stays_fenced_through_kill_and_restart(tmp_path: Path) -> None:
    with serve(tmp_path) as target, connect(target, 1) as a, connect(target, 2) as b:
        for session, key in ((a, 1), (b, 2)):
            assert out(session, REGISTER, 0, key).good
        assert out(b, RESERVE, 2, 0).good
        assert out(a, PREEMPT, 1, 2).good
        target.kill()
    with serve(tmp_path) as target, connect(target, 1) as a, connect(target, 2) as b:
        assert target.says("1 registrations are back")
        assert read_keys(b) == [1]
        assert write(b) == CONFLICT
        assert write(a) == 0


def test_without_aptpl_they_are_lost_unless_the_lun_keeps_them(tmp_path: Path) -> None:
    for options, found in (({}, []), ({"reservations": "keep"}, [1])):
        folder = tmp_path / str(len(found))
        folder.mkdir()
        with serve(folder, **options) as target, connect(target, 1) as a:
            assert out(a, REGISTER, 0, 1, aptpl=False).good
            target.kill()
        with serve(folder, **options) as target, connect(target, 2) as b:
            assert read_keys(b) == found


def test_a_damaged_file_ends_the_start_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "data" / "iscsitools" / "reservations" / f"{NAA}.json"
    file.parent.mkdir(parents=True)
    file.write_text("{")
    with pytest.raises(RuntimeError) as failed:
        serve(tmp_path)
    (line,) = str(failed.value).splitlines()[1:]
    assert f"its reservations: {file} is damaged" in line
    assert "remove the file" in line


def test_killed_at_any_moment_the_old_or_the_new_state_is_there(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    key = 0
    for _ in range(6):
        with serve(tmp_path) as target, connect(target, 1) as session:
            assert read_keys(session) == ([key] if key else [])
            for _ in range(rng.randrange(1, 12)):
                assert out(session, REGISTER, 0, key + 1).good
                key += 1
            killer = threading.Timer(rng.random() / 50, target.kill)
            killer.start()
            try:
                while out(session, REGISTER, 0, key + 1).good:
                    key += 1
            except (OSError, ConnectionClosedError):
                pass
            killer.join()
        with serve(tmp_path) as target, connect(target, 1) as session:
            assert read_keys(session) in ([key], [key + 1])
            (key,) = read_keys(session)


@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
def test_what_stops_half_way_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    place = KeptFile(tmp_path / "a" / "b.json", InlineExecutor())
    old, new = Registrations().to_text(), Registrations().to_text() + " "
    place.keep(1, old)

    def fails(*_: object, **__: object) -> None:
        raise OSError(28, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fails)
        with pytest.raises(OSError, match="no space"):
            place.keep(2, new)
    assert place.load() == old
    place.keep(2, new)
    place.keep(1, old)  # comes late, and is void
    assert place.load() == new
    place.keep(3, "")
    assert place.load() == ""


@pytest.mark.parametrize("new", ["new", ""])
def test_what_is_in_its_place_and_cannot_be_made_durable_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new: str
) -> None:
    """Else a command that has failed had its effect at the next start."""
    place = KeptFile(tmp_path / "a" / "b.json", InlineExecutor())
    place.keep(1, "old")
    fsync = os.fsync

    def fails(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(5, "broken")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="broken"):
        place.keep(2, new)
    assert place.load() == "old"


def test_what_is_kept_was_made_durable_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new folder, the text before it gets its name, the name before the status."""
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda path, to: (steps.append("replace"), replace(path, to))[1])
    KeptFile(tmp_path / "a" / "b.json", InlineExecutor()).keep(1, "text")
    assert steps == [str(tmp_path), f"{tmp_path}/a/.b.json.new", "replace", f"{tmp_path}/a"]
