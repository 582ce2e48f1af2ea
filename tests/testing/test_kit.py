"""The kit for authors: this project's own stores and filters pass it, and what is wrong does not."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

from iscsitools.backstores import file as file_module
from iscsitools.backstores.base import Allocation, Backstore, BackstoreError, Extent, Filter
from iscsitools.backstores.file import FileBackstore
from iscsitools.backstores.filters import overlay_map
from iscsitools.backstores.filters.cow import CowFilter
from iscsitools.backstores.filters.delay import DelayFilter
from iscsitools.backstores.filters.error import ErrorFilter
from iscsitools.backstores.filters.powerloss import PowerlossFilter
from iscsitools.backstores.ram import RamBackstore
from iscsitools.backstores.spec import build, parse_spec
from iscsitools.initiator import Session
from iscsitools.plugins import PluginManager
from iscsitools.testing.crash import check_crashes
from iscsitools.testing.faults import check_faults
from iscsitools.testing.fixtures import served as served
from iscsitools.testing.model import check_model
from iscsitools.testing.store_calls import call

SIZE = 64 * 4096
SEEDS = range(3)


def of_spec(text: str) -> Backstore:
    manager = PluginManager()
    manager.load()
    return build(parse_spec(text), manager.registry)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("spec", ["ram:1M", "ram+cow:1M", "ram+powerloss:1M", "ram+delay+error:1M", "null+readonly:1M"])
def test_stores_in_memory_pass_the_model(spec: str, seed: int) -> None:
    check_model(partial(of_spec, spec), seed)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "spec",
    ["file:{}/disk,size=1M", "file+powerloss:{}/disk,size=1M", "file+cow:{}/base,cow.file={}/overlay",
     "file+cow+powerloss:{}/base,cow.file={}/overlay,powerloss.memory=8K"],
)  # fmt: skip
def test_stores_on_disk_pass_the_model(spec: str, seed: int, tmp_path: Path) -> None:
    (tmp_path / "base").write_bytes(os.urandom(SIZE))
    check_model(partial(of_spec, spec.format(tmp_path, tmp_path)), seed, persistent=True)


def of_file(folder: Path, options: str = "", more: str = "") -> Backstore:
    disk = folder / "disk"
    if not disk.exists():
        disk.write_bytes(b"o" * SIZE)
    return of_spec(f"file{options}:{disk}{more}")


class ByThreads(FileBackstore):
    """A class that derives from ``file`` has no asynchronous calls: it might change what they do."""


def of_file_by_threads(folder: Path) -> Backstore:
    return ByThreads(f"{folder}/disk", size=SIZE)


def of_cow(base: Path, folder: Path) -> Backstore:
    return of_spec(f"file+cow:{base},cow.file={folder}/overlay")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base"
    path.write_bytes(b"b" * SIZE)
    return path


@pytest.mark.parametrize("seed", SEEDS)
def test_stores_on_disk_survive_power_failures(base: Path, seed: int) -> None:
    assert check_crashes(of_file, seed) == 200
    assert check_crashes(partial(of_file, options="+delay+error"), seed, steps=20) == 100
    assert check_crashes(partial(of_cow, base), seed) == 200
    assert check_crashes(partial(of_cow, base), seed, block_size=512) == 200


@pytest.mark.parametrize("seed", SEEDS)
def test_a_file_without_a_ring_survives_power_failures(seed: int) -> None:
    assert check_crashes(of_file_by_threads, seed) == 200


def test_a_disk_of_o_direct_survives_power_failures(tmp_path: Path) -> None:
    try:
        assert check_crashes(partial(of_file, options="", more=",direct=yes"), steps=15, place=tmp_path) == 75
    except BackstoreError as error:
        pytest.skip(str(error))


def no_sync(fd: int) -> None:
    pass


def crash_often(make: Callable[[Path], Backstore]) -> None:
    for seed in range(20):
        check_crashes(make, seed)


@pytest.mark.parametrize(
    ("module", "name", "replacement"),
    [
        (file_module, "sync_data", no_sync),
        (file_module, "RWF_DSYNC", 0x1000),  # a flag that syncs nothing
    ],
)
def test_a_file_that_is_not_synced_is_found_out(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, replacement: object
) -> None:
    if name == "RWF_DSYNC":
        real = os.pwritev
        monkeypatch.setattr(os, "pwritev", lambda fd, data, at, flags=0: real(fd, data, at, 0))
    monkeypatch.setattr(module, name, replacement)
    with pytest.raises(AssertionError, match="neither flushed nor written since"):
        crash_often(of_file_by_threads)


@pytest.mark.parametrize("module", [overlay_map, file_module])
def test_a_cow_disk_that_is_not_synced_is_found_out(
    base: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType
) -> None:
    monkeypatch.setattr(module, "sync_data", no_sync)
    with pytest.raises(AssertionError, match="power failure"):
        crash_often(partial(of_cow, base))


def test_bits_before_their_data_are_found_out(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of a flush: data, then bits."""

    def flush(self: CowFilter) -> None:
        self._map.store(self._map.take_changes())
        self._overlay.flush()

    real_write = CowFilter.write

    def write(self: CowFilter, offset: int, buffer: memoryview) -> None:
        real_write(self, offset, buffer)
        self._map.store(self._map.take_changes())

    monkeypatch.setattr(CowFilter, "flush", flush)
    monkeypatch.setattr(CowFilter, "write", write)
    with pytest.raises(AssertionError, match="neither flushed nor written since"):
        crash_often(partial(of_cow, base))


@pytest.mark.parametrize("make", [DelayFilter, ErrorFilter, PowerlossFilter, Filter])
def test_filters_pass_the_fault_matrix(make: Callable[[Backstore], Filter]) -> None:
    assert check_faults(make) > 50


class Swallows(Filter):
    def write(self, offset: int, buffer: memoryview) -> None:
        with contextlib.suppress(OSError):
            self.inner.write(offset, buffer)


class Sticks(Filter):
    failed = False

    def write(self, offset: int, buffer: memoryview) -> None:
        if not self.failed:
            try:
                self.inner.write(offset, buffer)
            except BaseException:
                self.failed = True
                raise


class Spills(Filter):
    def write(self, offset: int, buffer: memoryview) -> None:
        try:
            self.inner.write(offset, buffer)
        except OSError:
            self.inner.write_zeroes(0, 512)
            raise


@pytest.mark.parametrize(
    ("make", "complaint"),
    [(Swallows, "no exception came out"), (Sticks, "a write after it"), (Spills, "before those of the call")],
)
def test_filters_that_take_errors_wrong_are_found_out(make: Callable[[Backstore], Filter], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_faults(make)


class Forgets(RamBackstore):
    def write(self, offset: int, buffer: memoryview) -> None:
        super().write(offset, buffer[: len(buffer) - 512 * (offset % 3 == 0)])


class Lies(RamBackstore):
    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        yield Extent(offset, length, Allocation.HOLE)


class ReadsShort(RamBackstore):
    def read_into(self, offset: int, buffer: memoryview) -> None:
        super().read_into(offset, buffer[:-1])


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (Forgets, "is not what was written"),
        (Lies, "has other bytes than zeros"),
        (ReadsShort, "is not what was written"),
    ],
)
def test_a_model_that_does_not_hold_is_found_out_with_its_seed(
    make: Callable[[str], Backstore], complaint: str
) -> None:
    with pytest.raises(AssertionError, match=rf"check_model\(seed=0\).*{complaint}"):
        check_model(lambda: make("1M"))


def test_calls_that_answer_later_are_waited_for() -> None:
    class Later(RamBackstore):
        async def flush(self) -> None:  # type: ignore[override]
            self.flushed = True

    store = Later("1M")
    call(store, "flush")
    assert store.flushed


def test_a_served_store(served: Callable[..., Session], tmp_path: Path) -> None:
    session = served(f"file+error:{tmp_path}/disk,size=1M,error.range=64K+512", "ram:1M")
    session.write(0, b"w" * 4096)
    assert session.read(0, 8) == b"w" * 4096
    assert session.read(0, 8, lun=1) == bytes(4096)
    assert session.command(b"\x28" + bytes(3) + b"\0\x80" + bytes(2) + b"\1\0", read=512).sense_code == (3, 0x11, 0)


def test_a_served_plugin_that_is_not_installed(served: Callable[..., Session]) -> None:
    from iscsitools.hookspecs import hookimpl

    class Named(RamBackstore):
        kind = "named"

    module = ModuleType("named_plugin")
    module.ISCSITOOLS_API = 1  # type: ignore[attr-defined]
    module.register_backstores = hookimpl(lambda register: register(Named))  # type: ignore[attr-defined]
    session = served("named:1M", plugins=(module,))
    assert session.read_capacity() == (2048, 512)
