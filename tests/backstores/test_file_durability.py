"""The file backstore: what is durable, what is not yet, and what a flush that failed means."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from iscsitools.backstores import file as file_module
from iscsitools.backstores import file_open
from iscsitools.backstores.base import Backstore
from iscsitools.backstores.syscalls import RWF_NOWAIT, make_folders

from .conftest import on_disk, read

Opened = Callable[..., Backstore]

on_linux = pytest.mark.skipif(not RWF_NOWAIT, reason="RWF_NOWAIT is Linux's")


def test_a_new_file_is_durable_with_its_name(opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    monkeypatch.setattr(file_open, "file_identity", lambda *args, **how: "x")
    opened(f"file:{tmp_path}/new.img,size=1M")
    assert synced == [f"{tmp_path}/new.img", str(tmp_path)]


def test_new_folders_are_durable_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    make_folders(str(tmp_path / "one" / "two" / "three"))
    assert synced == [str(tmp_path), str(tmp_path / "one"), str(tmp_path / "one" / "two")]
    assert (tmp_path / "one" / "two" / "three").is_dir()
    make_folders(str(tmp_path / "one"))
    assert len(synced) == 3


@pytest.mark.parametrize("failing", ["flush", "write_through"])
def test_a_failed_flush_is_never_followed_by_a_good_one(
    disk: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """Linux reports a lost page once; a second fdatasync would succeed."""

    def fail(*args: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    store = file_module.FileBackstore(str(disk))
    store.open()
    with monkeypatch.context() as patch:
        patch.setattr(file_module, "sync_data", fail)
        patch.setattr(file_module, "write_fully", fail)
        with pytest.raises(OSError, match="Input/output"):
            store.flush() if failing == "flush" else store.write_through(0, memoryview(bytes(512)))
    assert not store.try_write(0, memoryview(bytes(4096)))
    for call in (store.flush, lambda: store.write(0, memoryview(bytes(512))), lambda: store.discard(0, 512)):
        with pytest.raises(OSError, match="writes may have been lost") as caught:
            call()
        assert caught.value.errno == errno.EIO
    read(store, 0, 4096)
    store.close()
    store.open()
    store.flush()
    store.close()


@pytest.mark.parametrize("pending", [False, True])
def test_no_space_for_a_durable_write_does_not_condemn_the_disk(
    disk: Path, monkeypatch: pytest.MonkeyPatch, pending: bool
) -> None:
    """With unflushed writes before it, the news may have been of theirs: the next flush fails, that one only."""

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = file_module.FileBackstore(str(disk))
    store.open()
    store.flush()
    if pending:
        store.write(8192, memoryview(bytes(512)))
    with monkeypatch.context() as patch:
        patch.setattr(file_module, "write_fully", full)
        with pytest.raises(OSError, match="No space"):
            store.write_through(0, memoryview(bytes(512)))
    store.write_through(0, memoryview(b"x" * 512))
    if pending:
        with pytest.raises(OSError, match="No space"):
            store.flush()
    store.flush()
    assert disk.read_bytes()[:512] == b"x" * 512
    store.close()


def test_a_loss_that_a_durable_write_was_told_of_is_told_again_to_the_flush(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flush goes through a descriptor on which nothing was reported yet."""
    store = file_module.FileBackstore(str(disk))
    store.open()
    synced: list[int] = []
    monkeypatch.setattr(file_module, "sync_data", synced.append)
    store.write(0, memoryview(bytes(512)))
    store.flush()
    (fd,) = synced
    assert fd != store._fd
    assert os.path.samestat(os.fstat(fd), os.fstat(store._fd))
    assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
    store.close()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)


def test_a_failed_flush_is_told_when_it_happens(
    disk: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    store = file_module.FileBackstore(str(disk))
    store.open()
    monkeypatch.setattr(file_module, "sync_data", fail)
    for _ in range(3):
        with pytest.raises(OSError, match=r"Input/output error|writes may have been lost"):
            store.flush()
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert line.startswith(f"{disk}: a flush failed (Input/output error): written data may be lost")
    store.close()


def test_what_is_unflushed_is_known(opened: Opened, disk: Path) -> None:
    store = opened(f"file:{disk}")
    assert store.unflushed, "others may have written before"
    store.flush()
    assert not store.unflushed
    store.write_through(0, memoryview(bytes(512)))
    read(store, 0, 4096)
    assert not store.unflushed
    data = memoryview(bytes(4096))
    for change in (
        lambda: store.write(0, data), lambda: store.try_write(0, data),
        lambda: store.discard(0, 4096), lambda: store.write_zeroes(0, 4096),
    ):  # fmt: skip
        change()
        assert store.unflushed
        store.flush()
        assert not store.unflushed


WRITER = """
import sys
from iscsitools.backstores.spec import build, parse_spec
from iscsitools.plugins import PluginManager
manager = PluginManager()
manager.load()
store = build(parse_spec(sys.argv[1]), manager.registry)
store.open()
n = 0
while True:
    store.write(n % 256 * 4096, memoryview(n.to_bytes(8, "big") * 512))
    n += 1
    if n % 8 == 0:
        store.flush()
        print(n, flush=True)
"""


@pytest.mark.parametrize("spec", ["file:{disk}", "file+cow:{disk},cow.file={disk}.cow", "file:{disk},direct=yes"])
def test_what_was_flushed_survives_a_kill(opened: Opened, disk: Path, spec: str) -> None:
    if "direct" in spec:
        on_disk(disk)
    text = spec.format(disk=disk)
    base = disk.read_bytes()
    writer = subprocess.Popen([sys.executable, "-c", WRITER, text], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    flushed = [int(writer.stdout.readline()) for _ in range(50)]
    writer.kill()
    flushed += [int(line) for line in writer.stdout.read().split()]
    writer.wait()
    writer.stdout.close()
    store = opened(text)
    for block in range(256):
        content = read(store, block * 4096, 4096)
        written = int.from_bytes(content[:8], "big")
        last = max((n for n in range(block, flushed[-1], 256)), default=-1)
        if last >= 0:  # durable, perhaps overwritten by what came after the last flush
            assert content == content[:8] * 512
            assert written >= last
            assert written % 256 == block
        elif content != base[block * 4096 : (block + 1) * 4096]:
            assert content == content[:8] * 512
            assert written == block
