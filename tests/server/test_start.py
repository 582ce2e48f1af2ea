"""A start that fails: one line, a status, and nothing stays open."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from iscsitools.backstores.base import BackstoreError
from iscsitools.errors import RunError, UsageError

from .harness import IQN, Gate, descriptors, eventually, make_server, one_target, own_threads, plugin, running


class Witness(Gate):
    """Remembers all of its kind. ``fails``: what a method of the third one raises."""

    kind = "witness"
    made: list[Witness]
    fails: dict[str, BaseException]
    surplus = 0
    """Bytes that the third one has more when it is open than its text says."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.made.append(self)
        self.third = what.startswith("3")
        self.opened = 0

    def meet(self, verb: str) -> None:
        super().meet(verb)
        if self.third and verb in self.fails:
            raise self.fails[verb]

    def open(self) -> None:
        self.meet("open")
        self.opened += 1

    @property
    def size(self) -> int:
        self.meet("size")
        return super().size + (self.surplus if self.third and self.opened else 0)

    def close(self) -> None:
        super().close()
        self.meet("close")


WITNESSES = plugin(register_backstores=lambda register: register(Witness))
THREE = one_target("witness:1M", "witness:2M", "witness:3M")


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    Witness.made, Witness.fails = [], {}
    before = descriptors()
    yield
    eventually(lambda: not own_threads(), "the end of the server's threads")
    assert descriptors() == before
    assert [store.closed for store in Witness.made] == [store.opened for store in Witness.made]


def opened() -> int:
    return sum(store.opened for store in Witness.made)


def start(folder: Path, text: str = THREE, *plugins: Any) -> None:
    make_server(folder, text, WITNESSES, *plugins)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (BackstoreError("it is not there"), "it is not there"),
        (PermissionError(errno.EACCES, "Permission denied", "/disk"), "/disk: Permission denied"),
        (OSError("odd"), "3M: odd"),
        (ValueError("a defect"), "backstore witness failed: ValueError: a defect"),
        (SystemExit(3), "backstore witness failed: SystemExit: 3"),
        (GeneratorExit(), "backstore witness failed: GeneratorExit"),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["open", "size"])
def test_a_backstore_that_cannot_be_used(tmp_path: Path, error: BaseException, message: str, method: str) -> None:
    Witness.fails = {method: error}
    with pytest.raises(RunError) as caught:
        start(tmp_path)
    assert str(caught.value) == f"{IQN} LUN 2: {message}"
    assert opened() == (2 if method == "open" else 3)


def test_a_size_that_is_no_multiple(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Witness, "surplus", 100)
    with pytest.raises(UsageError, match="LUN 2: its size, 3145828 bytes, is no multiple of the block size, 512"):
        start(tmp_path)
    assert opened() == 3


@pytest.mark.parametrize("size", [520, 8192, 0, 256, "512", None], ids=repr)
def test_a_backstore_with_blocks_that_no_disk_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: object
) -> None:
    def open_third(self: Witness) -> None:
        self.opened += 1
        if self.third:
            self.block_size = size  # type: ignore[assignment]

    monkeypatch.setattr(Witness, "open", open_third)
    complaint = f"LUN 2: witness has blocks of {size!r} bytes; a disk's have 512, 1024, 2048 or 4096"
    with pytest.raises(RunError, match=re.escape(complaint)):
        start(tmp_path)
    assert opened() == 3


@pytest.mark.parametrize("size", [1 << 63, 1048576.0, "1M", None], ids=repr)
def test_a_backstore_of_a_size_that_no_disk_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: object) -> None:
    monkeypatch.setattr(Witness, "size", property(lambda self: size if self.third else 1 << 20))
    with pytest.raises(RunError, match=re.escape(f"LUN 2: witness says that its size is {size!r}, which no disk has")):
        start(tmp_path)
    assert opened() == 3


def test_a_close_that_raises_does_not_keep_the_others_open(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        Witness.fails = {"close": OSError(errno.EIO, "Input/output error"), "flush": ValueError("a defect")}
        with pytest.raises(RunError, match="Address already in use"):
            start(tmp_path, f'portals = ["127.0.0.1:0", "127.0.0.1:{taken.getsockname()[1]}"]\n{THREE}')
    assert opened() == 3


def test_an_address_that_is_not_ours(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"portal 192\.0\.2\.1:0: Cannot assign requested address"):
        start(tmp_path, f'portals = ["127.0.0.1:0", "192.0.2.1:0"]\n{THREE}')


def test_a_name_that_is_taken(tmp_path: Path) -> None:
    with running(tmp_path, 'name = "same"\n' + one_target("gate:1M")):
        with pytest.raises(RunError, match="a server named 'same' is already running"):
            start(tmp_path, 'name = "same"\n' + THREE)
        assert opened() == 3


def test_a_defect_while_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from iscsitools.server import server

    def fails(*arguments: object, **more: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(server, "TraceServer", fails)
    with pytest.raises(ZeroDivisionError):
        start(tmp_path)
    assert opened() == 3


def test_without_a_directory_for_its_sockets_it_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from iscsitools.trace import names

    (tmp_path / "file").touch()
    monkeypatch.setattr(names, "candidates", lambda: [tmp_path / "file", tmp_path / "missing" / "further"])
    with running(tmp_path, one_target("gate:1M")) as target, target.connect() as session:
        assert target.server.trace is None
        assert session.nop(b"x").data == b"x"
    (line,) = (record.getMessage() for record in caplog.records if "nobody can watch" in record.getMessage())
    assert str(tmp_path / "file") in line


def serve(*arguments: str, **how: Any) -> tuple[int, str]:
    """Run ``serve``, which must fail with one line; returns its status and the line."""
    done = subprocess.run(
        [sys.executable, "-m", "iscsitools", "serve", *arguments],
        capture_output=True, text=True, timeout=60, check=False, **how,
    )  # fmt: skip
    assert (done.stdout, done.stderr.count("\n")) == ("", 1), done
    assert done.stderr.startswith("iscsitools: ")
    return done.returncode, done.stderr.removeprefix("iscsitools: ").rstrip("\n")


@pytest.mark.parametrize(
    ("store", "status", "said"),
    [
        ("file:/", 2, "/ is a directory"),
        ("file:/dev/null", 1, "is neither a file nor a block device"),
        ("file:/proc/version,readonly=yes", 1, "is empty"),
        ("file:/nonexistent/disk.img,size=1M", 2, "/nonexistent/disk.img"),
        ("file:", 2, "a path has to follow the colon"),
        ("ram:1M,colour=red", 2, "colour"),
    ],
)
def test_files_that_are_none(store: str, status: int, said: str) -> None:
    found, line = serve("--portal", "127.0.0.1:0", "--lun", store)
    assert said in line
    assert found == status


@pytest.mark.parametrize("portal", ["127.0.0.1:99999", "a..b:1", "[::1:3260", "127.0.0.1:x", "300.1.1.1:1"])
def test_portals_that_are_none(portal: str) -> None:
    status, line = serve("--portal", portal, "--lun", "ram:1M")
    assert portal.rpartition(":")[0].strip("[]") in line
    assert status in (1, 2)


_PR_CAPBSET_DROP = 24
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2


def obey_permissions() -> None:
    """Let the program that follows obey the permissions of files, even if it is root's (capabilities(7))."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None)
        for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


def test_no_permission(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    for mode, option in ((0o444, ""), (0, ",readonly=yes")):
        disk.chmod(mode)
        status, line = serve(
            "--portal", "127.0.0.1:0", "--iqn", IQN, "--lun", f"file:{disk}{option}", preexec_fn=obey_permissions
        )
        assert (status, "Permission denied" in line, str(disk) in line) == (1, True, True)


def test_the_configuration_file_cannot_be_read(tmp_path: Path) -> None:
    for path, said in ((tmp_path, "Is a directory"), (tmp_path / "no", "No such file or directory")):
        status, line = serve("--config", str(path))
        assert (status, line) == (1, f"{path}: {said}")


def test_two_luns_of_one_disk_are_refused_by_name(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    luns = ("--lun", f"file:{disk},readonly=yes", "--lun", f"file:{disk},readonly=yes")
    status, line = serve("--portal", "127.0.0.1:0", "--iqn", "iqn.2026-11.example:a", *luns)
    assert status == 2
    assert "iqn.2026-11.example:a LUN 1 has the identity of iqn.2026-11.example:a LUN 0" in line
    assert "give one of them serial=" in line
