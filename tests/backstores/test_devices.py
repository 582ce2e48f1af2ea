"""Real block devices: loop devices over files of the test."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from iscsitools.backstores.base import Backstore, BackstoreError

from .conftest import read

Opened = Callable[..., Backstore]
MIB = 1 << 20

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("losetup") is None, reason="needs root and losetup (mount)"
)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(os.urandom(MIB))
    return path


@pytest.fixture
def loop(disk: Path) -> Iterator[Callable[[], str]]:
    """Make a loop device over the disk; it goes at the test's end."""
    made: list[str] = []

    def make() -> str:
        answer = subprocess.run(["losetup", "--find", "--show", str(disk)], capture_output=True, text=True, check=False)
        if answer.returncode:
            pytest.skip(f"no loop device: {answer.stderr.strip()}")
        made.append(answer.stdout.strip())
        set_read_only(made[-1], False)  # a test that was killed may have left it so
        return made[-1]

    yield make
    for device in made:
        set_read_only(device, False)  # which the next who gets this device would inherit
        subprocess.run(["losetup", "--detach", device], check=True)


def set_read_only(device: str, value: bool) -> None:
    subprocess.run(["blockdev", "--setro" if value else "--setrw", device], check=True)


def test_a_block_device(opened: Opened, loop: Callable[[], str]) -> None:
    device = loop()
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
    store.close()


def test_a_device_that_is_set_read_only_is_refused_or_only_read(
    opened: Opened, disk: Path, loop: Callable[[], str]
) -> None:
    device = loop()
    set_read_only(device, True)
    with pytest.raises(BackstoreError, match="is set read-only"):
        opened(f"file:{device}")
    store = opened(f"file:{device}", read_only=True)
    assert store.capabilities.read_only
    assert read(store, 0, 4096) == disk.read_bytes()[:4096]
    store.close()


def test_a_device_that_is_set_read_only_while_it_is_served(opened: Opened, loop: Callable[[], str]) -> None:
    device = loop()
    store = opened(f"file:{device}")
    store.write(0, memoryview(b"n" * 4096))
    set_read_only(device, True)
    assert store.capabilities.read_only
    assert store.capabilities.volatile_cache, "what was written before has still to be flushed"
    with pytest.raises(PermissionError):
        store.write(0, memoryview(bytes(4096)))
    set_read_only(device, False)
    assert not store.capabilities.read_only
    store.write(0, memoryview(b"m" * 4096))
    store.flush()
    assert read(store, 0, 4096) == b"m" * 4096
    store.close()


def test_a_loop_device_and_the_file_behind_it_are_one_disk(opened: Opened, disk: Path, loop: Callable[[], str]) -> None:
    first, second = loop(), loop()
    store = opened(f"file:{first}")
    for other in (str(disk), second):
        with pytest.raises(BackstoreError, match=r"disk\.img.* is in use by another"):
            opened(f"file:{other}")
    store.close()
    store = opened(f"file:{disk}")
    own = store.own_identity
    with pytest.raises(BackstoreError, match=rf"disk\.img, the file behind {first}, is in use by another"):
        opened(f"file:{first}")
    store.close()
    store = opened(f"file:{first}", read_only=True)
    assert store.own_identity == own
    opened(f"file:{disk}", read_only=True)
    store.close()


def test_a_loop_device_whose_file_was_deleted(
    opened: Opened, disk: Path, loop: Callable[[], str], caplog: pytest.LogCaptureFixture
) -> None:
    device = loop()
    disk.unlink()
    store = opened(f"file:{device}")
    assert f"{device}: the file behind it, {disk}, has been deleted" in caplog.text
    store.close()
