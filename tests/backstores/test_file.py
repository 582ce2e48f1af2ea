from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from iscsitools.backstores import file as file_module
from iscsitools.backstores import file_open
from iscsitools.backstores.base import Allocation, Backstore, BackstoreError, MediumError
from iscsitools.backstores.syscalls import RWF_NOWAIT, is_in_memory, make_folders

from .conftest import read

Opened = Callable[..., Backstore]
MIB = 1 << 20

on_linux = pytest.mark.skipif(not RWF_NOWAIT, reason="RWF_NOWAIT is Linux's")


def drop_from_cache(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def on_disk(path: Path) -> None:
    with open(path, "rb") as file:
        if is_in_memory(file.fileno()):
            pytest.skip("the temporary directory is in memory")


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(os.urandom(MIB))
    return path


def test_size_makes_a_sparse_file(opened: Opened, tmp_path: Path) -> None:
    store = opened(f"file:{tmp_path}/new.img,size=8G")
    assert store.size == 8 << 30
    status = os.stat(tmp_path / "new.img")
    assert status.st_blocks * 512 < MIB
    assert status.st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("file:{dir}/missing.img", "does not exist; add size=SIZE"),
        ("file:{dir}/no/where.img,size=1M", "No such file or directory"),
        ("file:{dir}", "neither a file nor a block device"),
        ("file:{dir}/empty.img", "is empty; add size=SIZE"),
        ("file:{dir}/disk.img,size=512K", "has 1048576 bytes already, more than size=524288"),
        ("file+readonly:{dir}/disk.img,size=2M", "cannot be grown"),
        (
            "file+readonly:{dir}/missing.img,size=2M",
            "a file that is only read (readonly=yes, or under cow) is not made",
        ),
        ("file:", "a path has to follow"),
        ("file:{dir}/disk.img,size=0", "is not more than 0"),
        ("file:/dev/null", "neither a file nor a block device"),
    ],
)
def test_what_cannot_be_opened_is_said_in_one_line(opened: Opened, disk: Path, spec: str, complaint: str) -> None:
    (disk.parent / "empty.img").touch()
    with pytest.raises(BackstoreError) as caught:
        opened(spec.format(dir=disk.parent))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert disk.stat().st_size == MIB


def test_links_that_lead_nowhere_are_called_that(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    for spec, complaint in (
        ("dangling", f"dangling is a symbolic link to {tmp_path}/gone, which does not exist"),
        ("dangling,size=1M", f"dangling is a symbolic link to {tmp_path}/gone, which does not exist"),
        ("a", "a: its symbolic links go round in a circle"),
        ("a,size=1M", "a: its symbolic links go round in a circle"),
    ):
        with pytest.raises(BackstoreError, match=f"{re.escape(complaint)}$"):
            opened(f"file:{tmp_path}/{spec}")


def test_a_file_that_was_deleted_is_told_at_the_end(
    opened: Opened, disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(f"file:{disk}")
    disk.unlink()
    store.write(0, memoryview(bytes(512)))
    store.close()
    assert f"{disk} has been deleted while it was served" in caplog.text


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


def test_size_grows_a_file_and_keeps_its_bytes(opened: Opened, disk: Path) -> None:
    before = disk.read_bytes()
    store = opened(f"file:{disk},size=3M")
    assert read(store, 0, 3 * MIB) == before + bytes(2 * MIB)


def test_a_second_writer_is_refused_by_name(opened: Opened, disk: Path) -> None:
    opened(f"file:{disk}")
    for spec in (f"file:{disk}", f"file+readonly:{disk}"):
        with pytest.raises(BackstoreError, match=r"disk\.img is in use by another"):
            opened(spec)


def test_readers_share_a_file_and_keep_writers_out(opened: Opened, disk: Path) -> None:
    opened(f"file:{disk}", read_only=True)
    opened(f"file:{disk}", read_only=True)
    with pytest.raises(BackstoreError, match="readonly=yes can share it"):
        opened(f"file:{disk}")


def test_a_failed_open_leaves_no_lock(opened: Opened, disk: Path) -> None:
    with pytest.raises(BackstoreError):
        opened(f"file:{disk},size=512K")
    opened(f"file:{disk}")


def test_read_only_changes_nothing(opened: Opened, disk: Path) -> None:
    before = disk.read_bytes()
    store = opened(f"file:{disk}", read_only=True)
    assert store.capabilities.read_only
    assert not store.capabilities.volatile_cache
    assert not store.try_write(0, memoryview(bytes(4096)))
    for call in (store.write, store.write_through):
        with pytest.raises(OSError, match="reading only"):
            call(0, memoryview(bytes(512)))
    for change in (store.discard, store.write_zeroes):
        with pytest.raises(OSError, match="reading only"):
            change(0, 4096)
    store.flush()
    assert disk.read_bytes() == before


def test_a_file_cut_short_is_a_medium_error_at_its_end(opened: Opened, disk: Path) -> None:
    store = opened(f"file:{disk}")
    os.truncate(disk, 4096 + 512)
    buffer = memoryview(bytearray(8192))
    assert not store.try_read_into(0, buffer)
    with pytest.raises(MediumError) as caught:
        store.read_into(0, buffer)
    assert caught.value.offset == 4096 + 512
    assert store.size == 4096 + 512


def test_discard_punches_a_hole(opened: Opened, disk: Path) -> None:
    store = opened(f"file:{disk}")
    if not store.capabilities.thin:
        pytest.skip("the temporary directory's file system has no holes")
    store.discard(64 << 10, 512 << 10)
    store.flush()
    assert disk.stat().st_blocks * 512 <= MIB - (512 << 10) + 4096
    assert [(e.offset, e.length, e.state) for e in store.extents(0, MIB)] == [
        (0, 64 << 10, Allocation.MAPPED),
        (64 << 10, 512 << 10, Allocation.HOLE),
        (576 << 10, 448 << 10, Allocation.MAPPED),
    ]


def test_zeros_are_written_where_the_file_system_cannot(
    opened: Opened, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(f"file:{disk}")
    monkeypatch.setattr("iscsitools.backstores.holes._fallocate", None)
    before = disk.read_bytes()
    store.discard(512, 8192)
    store.write_zeroes(512 << 10, 4096)
    assert read(store, 0, MIB) == (
        before[:512] + bytes(8192) + before[8704 : 512 << 10] + bytes(4096) + before[(512 << 10) + 4096 :]
    )


@on_linux
def test_try_read_reads_what_is_cached_and_nothing_else(opened: Opened, disk: Path) -> None:
    on_disk(disk)
    store = opened(f"file:{disk}")
    assert isinstance(store, file_module.FileBackstore)
    buffer = bytearray(8192)
    flags: list[int] = []

    def not_cached(fd: int, buffers: object, offset: int, how: int) -> int:
        flags.append(how)
        raise BlockingIOError(errno.EAGAIN, "it would block")

    assert not store.try_read_into(0, memoryview(buffer), not_cached)
    assert flags == [RWF_NOWAIT]
    drop_from_cache(disk)
    store.read_into(0, memoryview(buffer))
    buffer[:] = bytes(8192)
    assert store.try_read_into(0, memoryview(buffer))
    assert buffer == disk.read_bytes()[:8192]


@on_linux
def test_try_write_does_not_wait_for_a_page_to_be_read(
    opened: Opened, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel starts to read a page that it does not have, and a fast disk has it at once: so that is played."""
    on_disk(disk)
    store = opened(f"file:{disk}")
    asked: list[int] = []

    def not_cached(fd: int, buffers: object, offset: int, flags: int = 0) -> int:
        asked.append(offset)
        raise BlockingIOError(errno.EAGAIN, "it would block")

    monkeypatch.setattr(os, "preadv", not_cached)
    assert store.try_write(8192, memoryview(b"a" * 4096))  # whole pages need no reading
    assert not asked
    assert not store.try_write(16384 + 512, memoryview(b"b" * 512))
    assert not store.try_write(16384, memoryview(b"b" * 512))
    assert not store.try_write(16384 + 512, memoryview(b"b" * 3584))
    assert asked == [16384] * 3
    monkeypatch.undo()
    read(store, 16384, 4096)
    assert store.try_write(16384 + 512, memoryview(b"b" * 512))
    assert read(store, 16384 + 512, 512) == b"b" * 512
    assert read(store, 8192, 4096) == b"a" * 4096


def test_after_a_slow_write_the_loop_is_spared_for_a_while_and_longer_when_it_stays_slow(
    disk: Path, no_write_is_slow: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_module, "_SLOW_NS", no_write_is_slow)
    store = file_module.FileBackstore(str(disk))
    store.open()
    now = [10**12]

    def slow_write(fd: int, data: memoryview, offset: int) -> int:
        now[0] += 30_000_000
        return os.pwrite(fd, data, offset)

    def attempt() -> bool:
        return store.try_write(0, memoryview(bytes(4096)), slow_write, lambda: now[0])

    for pause in (50_000_000, 100_000_000, 200_000_000):
        assert attempt()
        assert not attempt()
        now[0] += pause - 1_000_000
        assert not attempt()
        now[0] += 2_000_000
    now[0] += 5_000_000_000
    assert attempt()
    now[0] += 51_000_000  # it had been fast for long: the pause is short again
    assert attempt()
    store.close()


def test_a_partial_write_is_completed(disk: Path) -> None:
    store = file_module.FileBackstore(str(disk))
    store.open()
    data = os.urandom(8192)
    assert store.try_write(4096, memoryview(data), lambda fd, part, at: os.pwrite(fd, part[:1000], at))
    assert read(store, 4096, 8192) == data
    store.close()


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


@pytest.mark.parametrize("change", ["write", "write_through", "discard", "write_zeroes", "try_write"])
def test_a_file_that_somebody_cut_is_not_made_longer_again(opened: Opened, disk: Path, change: str) -> None:
    store = opened(f"file:{disk}")
    os.truncate(disk, 8192)
    for offset in (4096, 65536):
        data = memoryview(b"n" * 8192)
        if change == "try_write":
            assert not store.try_write(offset, data)
            continue
        how = 8192 if change in ("discard", "write_zeroes") else data
        with pytest.raises(MediumError, match="somebody has cut it") as caught:
            getattr(store, change)(offset, how)
        assert caught.value.offset == max(8192, offset)
    assert disk.stat().st_size == 8192
    assert store.try_write(4096, memoryview(b"n" * 4096))
    store.resize(65536)
    store.write(8192, memoryview(b"n" * 4096))
    assert read(store, 4096, 8192) == b"n" * 8192


@pytest.mark.parametrize("length", [512, 4096, 256 << 10, 512 << 10])
def test_no_form_of_read_goes_beyond_the_end_of_a_cut_file(opened: Opened, disk: Path, length: int) -> None:
    store = opened(f"file:{disk}")
    read(store, 0, MIB)
    whole = store.try_map(0, length)
    if whole is not None:
        whole.release()
    os.truncate(disk, length - 100)
    assert store.try_map(0, length) is None
    assert not store.try_read_into(0, memoryview(bytearray(length)))
    with pytest.raises(MediumError) as caught:
        read(store, 0, length)
    assert caught.value.offset == length - 100


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


def test_direct_moves_bytes_of_buffers_that_lie_anywhere(opened: Opened, disk: Path) -> None:
    on_disk(disk)
    store = opened(f"file:{disk},direct=yes", block_size=4096)
    data = memoryview(bytearray(os.urandom((2 << 20) + 1)))[1:]
    store.resize(4 << 20)
    store.write(4096, data)
    assert not store.try_read_into(4096, memoryview(bytearray(4096)))
    assert not store.try_write(4096, memoryview(bytes(4096)))
    assert store.capabilities.volatile_cache
    assert read(store, 4096, len(data)) == data
    threads = [
        threading.Thread(target=store.write_through, args=(i * 65536, memoryview(bytes([i]) * 65536))) for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert disk.read_bytes()[: 8 * 65536] == b"".join(bytes([i]) * 65536 for i in range(8))


def test_direct_refuses_a_block_size_that_the_device_cannot_do(
    opened: Opened, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk(disk)
    monkeypatch.setattr(file_module, "direct_alignment", lambda fd: 4096)
    with pytest.raises(BackstoreError, match="direct=yes needs block_size=4096"):
        opened(f"file:{disk},direct=yes")


def test_resize_changes_the_file(opened: Opened, disk: Path) -> None:
    store = opened(f"file:{disk}")
    store.resize(2 * MIB)
    assert disk.stat().st_size == store.size == 2 * MIB


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


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("losetup") is None, reason="needs root and losetup (mount)")
def test_a_block_device(opened: Opened, disk: Path) -> None:
    answer = subprocess.run(["losetup", "--find", "--show", str(disk)], capture_output=True, text=True, check=False)
    if answer.returncode:
        pytest.skip(f"no loop device: {answer.stderr.strip()}")
    device = answer.stdout.strip()
    try:
        with pytest.raises(BackstoreError, match="cannot be grown"):
            opened(f"file:{device},size=2M")
        store = opened(f"file:{device}")
        assert store.size == MIB
        assert store.capabilities.physical_block_size >= 512
        data = os.urandom(8192)
        store.write(4096, memoryview(data))
        store.discard(4096, 4096)
        store.write_zeroes(16384, 4096)
        store.flush()
        assert read(store, 4096, 8192) == bytes(4096) + data[4096:]
        assert read(store, 16384, 4096) == bytes(4096)
        with pytest.raises(BackstoreError, match="in use"):
            opened(f"file:{device}")
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def test_the_lock_is_flock_so_that_other_programs_can_test_it(opened: Opened, disk: Path) -> None:
    opened(f"file:{disk}")
    with open(disk, "rb") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_a_file_is_copied_from_without_its_bytes_passing_through(opened: Opened, tmp_path: Path) -> None:
    content = os.urandom(256 << 10)
    (tmp_path / "one.img").write_bytes(content)
    one, other = opened(f"file:{tmp_path}/one.img"), opened(f"file:{tmp_path}/other.img,size=1M")
    source = one.clone_source()
    assert source is not None
    one.close()  # what is copied from stays open by itself
    assert other.clone_from(source, 4096, 8192, 128 << 10)
    assert other.unflushed
    found = bytearray(128 << 10)
    other.read_into(8192, memoryview(found))
    assert found == content[4096 : 4096 + len(found)]
    assert not other.clone_from(source, 252 << 10, 0, 8192), "the source has no such bytes"
    own = other.clone_source()
    assert own is not None
    assert not other.clone_from(own, 8192, 8192 + 4096, 8192), "the ranges overlap"
    assert other.clone_from(own, 8192, 512 << 10, 8192)
    with pytest.raises(MediumError):
        other.clone_from(own, 0, (1 << 20) - 4096, 8192)
    own.close()
    source.close()
