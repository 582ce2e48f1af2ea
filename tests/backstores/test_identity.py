"""A disk is itself: whatever path leads to it, and no other disk is."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from iscsitools.backstores import file_identity, places
from iscsitools.backstores.base import Backstore, Filter
from iscsitools.backstores.devices import Sysfs
from iscsitools.backstores.file_identity import ATTRIBUTE
from iscsitools.backstores.ram import RamBackstore

Opened = Callable[..., Backstore]
MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(MIB))
    try:
        os.setxattr(path, "user.test", b"x")
    except OSError:
        pytest.skip("the temporary directory's file system has no attributes")
    return path


@pytest.fixture
def identity(opened: Opened) -> Callable[..., str]:
    """The identity of a stack, which is closed again."""

    def of(spec: str, read_only: bool = False) -> str:
        store = opened(spec, read_only=read_only)
        found = store.own_identity
        store.close()
        return found

    return of


def test_one_file_has_one_identity_by_whatever_path(
    identity: Callable[..., str], disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(disk.parent)
    monkeypatch.setenv("HOME", str(disk.parent))
    (disk.parent / "link").symlink_to(disk.parent)
    spellings = ("disk.img", "./disk.img", "~/disk.img", str(disk), f"{disk.parent}/link/disk.img")
    first = identity(f"file:{disk}")
    assert len(first) == 36
    assert {identity(f"file:{spelling}") for spelling in spellings} == {first}
    assert identity(f"file:{disk}", read_only=True) == first


def test_one_name_in_two_folders_is_two_disks(
    identity: Callable[..., str], disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = disk.parent / "other"
    other.mkdir()
    monkeypatch.chdir(disk.parent)
    first = identity("file:disk.img")
    monkeypatch.chdir(other)
    assert identity("file:disk.img,size=1M") != first


def test_a_disk_keeps_its_identity_when_it_is_renamed_and_resized(identity: Callable[..., str], disk: Path) -> None:
    first = identity(f"file:{disk}")
    folder = disk.parent / "elsewhere"
    folder.mkdir()
    moved = disk.rename(folder / "renamed")
    os.truncate(moved, 2 * MIB)
    assert identity(f"file:{moved}") == first


@pytest.mark.parametrize("how", ["--preserve=all", "--preserve=mode"])
def test_a_copy_is_another_disk(
    identity: Callable[..., str], disk: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    first = identity(f"file:{disk}")
    copy = disk.parent / "copy"
    subprocess.run(["cp", how, disk, copy], check=True)
    with caplog.at_level(logging.WARNING):
        read_only = identity(f"file:{copy}", read_only=True)
        second = identity(f"file:{copy}")
    assert len({first, second, read_only}) == 3
    assert identity(f"file:{copy}") == second
    assert identity(f"file:{disk}") == first
    told = [record.getMessage() for record in caplog.records]
    assert all("is a copy of another disk" in line for line in told)
    assert len(told) == (2 if how == "--preserve=all" else 0)


def test_a_copy_of_the_file_system_under_another_name_is_told_by_its_uuid(
    identity: Callable[..., str], disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_identity, "file_system_name", lambda fd: "uuid:1")
    first = identity(f"file:{disk}")
    monkeypatch.setattr(file_identity, "file_system_name", lambda fd: "fsid:1")
    assert identity(f"file:{disk}") == first, "a kernel that tells no UUID is no proof of a copy"
    monkeypatch.setattr(file_identity, "file_system_name", lambda fd: "uuid:2")
    assert identity(f"file:{disk}") != first


def test_the_identity_is_durable_before_it_is_told(opened: Opened, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr(os, "setxattr", lambda *args: order.append("set"))
    monkeypatch.setattr(os, "fsync", lambda fd: order.append("sync"))
    opened(f"file:{disk}")
    assert order == ["set", "sync"]


def test_without_attributes_it_is_made_of_path_and_machine_with_a_warning(
    identity: Callable[..., str], disk: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "setxattr", refuse)
    link = disk.parent / "link"
    link.symlink_to(disk)
    first = identity(f"file:{disk}")
    assert len(first) == 32  # another length would be another disk to whom knows this one
    assert identity(f"file:{link}") == first
    assert "cannot be stored with it (Operation not supported)" in caplog.text
    copy = disk.parent / "copy"
    shutil.copyfile(disk, copy)
    assert identity(f"file:{copy}") != first
    monkeypatch.setattr(file_identity, "machine_id", lambda: "another")
    assert identity(f"file:{disk}") != first


def test_a_file_that_is_only_read_is_left_as_it_is(identity: Callable[..., str], disk: Path) -> None:
    assert identity(f"file:{disk}", read_only=True) == identity(f"file+readonly:{disk}")
    with pytest.raises(OSError, match="No data available"):
        os.getxattr(disk, ATTRIBUTE)


@pytest.mark.parametrize("value", [b"", b"nonsense", b"1 a b", b"9 a b 1", b"1 a b c", b"\xff\xfe"])
def test_an_attribute_that_is_none_of_ours_is_replaced(identity: Callable[..., str], disk: Path, value: bytes) -> None:
    os.setxattr(disk, ATTRIBUTE, value)
    first = identity(f"file:{disk}")
    assert len(first) == 36
    assert identity(f"file:{disk}") == first


def test_filters_that_change_nothing_leave_it_and_a_changed_copy_has_its_own(
    identity: Callable[..., str], opened: Opened, disk: Path
) -> None:
    base = identity(f"file:{disk}")
    for filters in ("delay", "error", "readonly", "delay+error"):
        assert identity(f"file+{filters}:{disk}") == base
    overlay = disk.parent / "overlay"
    changed = identity(f"file+cow:{disk},cow.file={overlay}")
    assert len({base, changed, identity(f"file+cow:{disk},cow.file={overlay}2")}) == 3
    assert identity(f"file+cow:{disk},cow.file={overlay}") == changed
    in_memory = opened(f"file+cow:{disk}")
    assert in_memory.own_identity == ""
    assert in_memory.identity == f"file:{disk}+cow"


def test_a_filter_that_changes_bytes_makes_another_disk() -> None:
    class Invert(Filter):
        kind = "invert"

        def read_into(self, offset: int, buffer: memoryview) -> None:
            self.inner.read_into(offset, buffer)

    class Named(RamBackstore):
        own_identity = "x"  # type: ignore[assignment]

    assert (Invert(Named("1M")).own_identity, Invert(Named("1M")).identity) == ("x+invert", "ram+invert")
    assert Invert(RamBackstore("1M")).own_identity == ""


def fake(root: Path, files: dict[str, str]) -> Sysfs:
    """A device 8:1 with these files in sysfs."""
    for name, text in files.items():
        path = root / "8:1" / name
        (root / "8:1").mkdir(exist_ok=True)
        path.resolve().parent.mkdir(parents=True, exist_ok=True)
        path.resolve().write_text(text + "\n")
    return Sysfs(os.makedev(8, 1), str(root))


@pytest.mark.parametrize(
    ("files", "identity"),
    [
        ({"device/wwid": "naa.5000c500a1b2c3d4"}, "device/wwid:naa.5000c500a1b2c3d4"),
        ({"wwid": "eui.0025388b71b2c3d4", "serial": "S1"}, "wwid:eui.0025388b71b2c3d4"),
        ({"dm/uuid": "LVM-abc", "wwid": "x"}, "dm/uuid:LVM-abc"),
        ({"serial": "disk-7"}, "serial:disk-7"),
        ({"partition": "2", "uevent": "DEVTYPE=partition\nPARTUUID=ABC-02"}, "partition:abc-02"),
        ({"partition": "2", "uevent": "", "../wwid": "naa.5"}, "wwid:naa.5/2"),
        ({"partition": "2", "uevent": ""}, ""),
        ({"dm/uuid": ""}, ""),
        ({"uevent": ""}, ""),
    ],
)
def test_block_devices_go_by_their_own_names(tmp_path: Path, files: dict[str, str], identity: str) -> None:
    assert fake(tmp_path, files).identity() == identity


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"loop/backing_file": "/a b", "loop/offset": "0", "loop/sizelimit": "0"}, ("/a b", False, "")),
        ({"loop/backing_file": "/a (deleted)", "loop/offset": "512"}, ("/a", True, "512//")),
        ({"partition": "1", "../loop/backing_file": "/a", "../loop/offset": "0"}, ("/a", False, "0//1")),
        ({"uevent": ""}, None),
    ],
)
def test_the_file_behind_a_loop_device(
    tmp_path: Path, files: dict[str, str], expected: tuple[str, bool, str] | None
) -> None:
    found = fake(tmp_path, files).backing()
    assert (found and (found.path, found.deleted, found.more)) == expected


def test_this_boot_this_machine_and_this_file_system_have_names(tmp_path: Path) -> None:
    assert places.machine_id()
    with open(tmp_path / "a", "w") as one, open(tmp_path / "b", "w") as other:
        name = places.file_system_name(one.fileno())
        assert name == places.file_system_name(other.fileno())
        kind, _, rest = name.partition(":")
        assert kind in ("uuid", "fsid")
        assert rest
    assert places.boot_id() == places.boot_id()
