"""What is changed while a server runs is what the next start serves, whenever it is killed, or is told to be lost."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import iscsitools as iscsitools
from server.harness import IQN, running
from support.target import start_target

from iscsitools.control import Control, ControlError
from iscsitools.initiator.session import Session

Run = Callable[..., Any]


def served(folder: Path, store: str) -> str:
    return f"""
name = "kept"
state = "{folder}/state"
portals = ["127.0.0.1:0"]
[[target]]
iqn = "{IQN}"
lun = [{{ store = "{store}" }}]
"""


def test_a_disk_that_grew_is_served_again_whenever_the_server_was_killed(tmp_path: Path) -> None:
    kept, killed = tmp_path / "state" / "config.toml", tmp_path / "killed"
    killed.mkdir()
    with running(tmp_path, served(tmp_path, f"file:{tmp_path}/disk,size=1M")) as server, Control("kept") as control:
        store = server.server.assembly.stores[0][1]
        resize = store.resize

        def grow(size: int) -> None:
            resize(size)
            shutil.copy(kept, killed)  # what a kill leaves that comes now

        store.resize = grow  # type: ignore[method-assign]
        control.resize_lun(IQN, 0, "2M")
    options = ("--state", str(killed), "--name", "killed", "--provider", "none")
    with start_target(tmp_path, *options) as target, Session.connect(target.addresses[0], IQN) as session:
        assert session.read_capacity() == (4096, 512)


def test_a_size_that_could_not_be_is_not_kept(tmp_path: Path) -> None:
    kept = tmp_path / "state" / "config.toml"
    with running(tmp_path, served(tmp_path, f"file:{tmp_path}/disk,size=1M")) as server, Control("kept") as control:

        def full(size: int) -> None:
            assert 'size = "2M"' in kept.read_text()
            raise OSError(errno.ENOSPC, "No space left on device")

        before = kept.read_text()
        server.server.assembly.stores[0][1].resize = full  # type: ignore[method-assign]
        with pytest.raises(ControlError, match="No space left on device"):
            control.resize_lun(IQN, 0, "2M")
        assert kept.read_text() == before


def test_a_change_that_is_not_kept_is_told_until_it_is(tmp_path: Path, iscsitools: Run) -> None:
    kept, in_the_way = tmp_path / "state" / "config.toml", tmp_path / "state" / ".config.toml.new"
    with running(tmp_path, served(tmp_path, "ram:1M")) as server, server.connect() as session:
        in_the_way.mkdir()
        text = f"what was changed is not kept: {in_the_way}: Is a directory"
        added = iscsitools("lun", "add", IQN, "ram:3M")
        assert (added.status, added.out) == (0, f"LUN 1 of {IQN} is added: ram:3M\n")
        assert added.err == f"iscsitools: warning: {text}\n"
        assert not session.command(bytes(6)).good  # the attention: it is there all the same
        assert session.read_capacity(1)[0] == 6144
        status = iscsitools("status")
        assert (status.status, text in status.out) == (1, True)
        (tmp_path / "now.toml").write_text(iscsitools("get").out)
        again = iscsitools("apply", "-f", str(tmp_path / "now.toml"))
        assert (again.out, again.err) == ("nothing to change\n", f"iscsitools: warning: {text}\n")
        in_the_way.rmdir()
        again = iscsitools("apply", "-f", str(tmp_path / "now.toml"))
        assert (again.out, again.err) == ("nothing to change\n", "")
        assert 'what = "3M"' in kept.read_text()
        assert iscsitools("status").status == 0
