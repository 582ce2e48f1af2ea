"""SANITIZE over the end and the death of a server, and the removal of its unit."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import iscsitools as iscsitools
from support.target import RunningTarget, start_target

from iscsitools.initiator import Session

IQN = "iqn.2026-11.example:sanitize"
SIZE = 8 << 20
IN_PROGRESS = b"\x04\x1b"
PATTERN = b"\xa5" * 512


def serve(folder: Path, delay: str = "0") -> RunningTarget:
    return start_target(
        folder, "--iqn", IQN, "--lun", f"0=file+delay:{folder}/disk.img,size={SIZE},delay.write={delay}"
    )


def begin(target: RunningTarget) -> Session:
    """An OVERWRITE with IMMED that is under way."""
    session = Session.connect(target.addresses[0], IQN)
    session.command(bytes(6))
    data = struct.pack(">BxH", 1, 512) + PATTERN
    assert session.command(struct.pack(">BB5xHx", 0x48, 0x81, len(data)), write=data).good
    assert session.command(bytes(6)).sense[12:14] == IN_PROGRESS
    return session


def finish(target: RunningTarget) -> None:
    """Wait for the end by REQUEST SENSE, whose progress only grows, and look at all blocks."""
    with Session.connect(target.addresses[0], IQN) as session:
        session.command(bytes(6))
        seen = []
        while (sense := session.command(bytes.fromhex("030000001200"), read=18).data)[12:14] == IN_PROGRESS:
            seen.append(int.from_bytes(sense[16:18], "big"))
        assert seen == sorted(seen)
        block = session.command(bytes.fromhex("28000000000000080000"), read=1 << 20).data
        assert block == PATTERN * 2048
        last = session.command(struct.pack(">BBIxHx", 0x28, 0, SIZE // 512 - 8, 8), read=4096).data
        assert last == PATTERN * 8


@pytest.mark.parametrize("killed", [True, False])
def test_a_server_that_ends_goes_on_at_the_next_start(tmp_path: Path, killed: bool) -> None:
    with serve(tmp_path, "300ms") as target:
        with begin(target):
            if killed:
                target.kill()
        if not killed:
            assert "have not returned" not in target.stop()
    assert (tmp_path / "disk.img").read_bytes()[-4096:] == bytes(4096), "it was not done yet"
    with serve(tmp_path) as target:
        assert target.says("its sanitize is back")
        finish(target)
    with serve(tmp_path) as target:
        assert "its sanitize is back" not in target.stop()


def test_a_unit_that_is_removed_meanwhile_goes_on_when_it_is_served_again(
    tmp_path: Path, iscsitools: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(tmp_path, "300ms") as target:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(target.runtime))
        with begin(target):
            told = iscsitools("lun", "remove", IQN, "0", "--force")
            assert "LUN 0" in told.out, told.err
        told = iscsitools("lun", "add", IQN, f"0=file:{tmp_path}/disk.img")
        assert told.status == 0, told.err
        finish(target)
