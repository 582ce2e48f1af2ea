"""Every stack against a bytearray: whatever is done to a disk, it reads as what was written last."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.in_memory import MEMORY

from iscsitools.backstores.base import Allocation, Backstore
from iscsitools.backstores.spec import build, parse_spec
from iscsitools.plugins import PluginManager

BLOCK = 512
SIZE = (2 << 20) + 5 * BLOCK  # the last granule of cow and the last chunk of ram are cut short

PERSISTENT = (
    "file:{dir}/disk",
    "file:{dir}/disk,direct=yes",
    "file+cow:{dir}/base,cow.file={dir}/overlay",
    "file+delay+error:{dir}/disk",
    "file+powerloss:{dir}/disk",
    "file+cow+powerloss:{dir}/base,cow.file={dir}/overlay,powerloss.memory=4K",
    "file+cow+delay:{dir}/base,cow.file={dir}/overlay,delay.read=1us",
    "file+readonly+cow+error:{dir}/base,cow.file={dir}/overlay",
    "file+cow+cow:{dir}/base,cow2.file={dir}/overlay",
    f"file+delay:{MEMORY}/{{name}},delay.flush=1us",
)
VOLATILE = ("ram:{size}", "ram+cow:{size}", "file+cow:{dir}/base", "ram+cow+cow+delay:{size},delay.write=1us")

offsets = st.one_of(
    st.integers(0, SIZE // BLOCK - 1),
    st.sampled_from([0, 1, 7, 8, 9, 2047, 2048, 2049, 4095, 4096, SIZE // BLOCK - 1]),
)
lengths = st.one_of(st.integers(1, 40), st.sampled_from([1, 8, 2048, 3000]))
calls = st.sampled_from(
    [
        "read",
        "write",
        "write",
        "write_through",
        "discard",
        "zero",
        "flush",
        "extents",
        "try_read",
        "try_write",
        "reopen",
    ]
)
steps = st.lists(st.tuples(calls, offsets, lengths, st.integers(1, 255)), max_size=25)


class Twin:
    """A disk and the bytes that it should have."""

    def __init__(self, make: Callable[[], Backstore], content: bytearray, persistent: bool) -> None:
        self.make, self.content, self.persistent = make, content, persistent
        self.store = make()

    def do(self, call: str, offset: int, length: int, fill: int) -> None:
        data = bytes([fill, fill ^ 0xFF]) * (length // 2)
        end = offset + length
        if call in ("write", "write_through"):
            getattr(self.store, call)(offset, memoryview(data))
            self.content[offset:end] = data
        elif call == "try_write":
            if self.store.try_write(offset, memoryview(data)):
                self.content[offset:end] = data
        elif call in ("discard", "zero"):
            (self.store.discard if call == "discard" else self.store.write_zeroes)(offset, length)
            self.content[offset:end] = bytes(length)
        elif call == "flush":
            self.store.flush()
        elif call == "extents":
            self.check_extents(offset, length)
        elif call == "reopen" and self.persistent:
            self.store.flush()
            self.store.close()
            self.store = self.make()
        else:
            buffer = bytearray(b"\xaa" * length)
            if call != "try_read":
                self.store.read_into(offset, memoryview(buffer))
            elif not self.store.try_read_into(offset, memoryview(buffer)):
                return
            assert buffer == self.content[offset:end]

    def check_extents(self, offset: int, length: int) -> None:
        position = offset
        for extent in self.store.extents(offset, length):
            assert extent.offset == position
            assert extent.length > 0
            assert extent.length % BLOCK == 0
            position += extent.length
            if extent.state is not Allocation.MAPPED:
                assert not any(self.content[extent.offset : position])
        assert position == offset + length


def run(manager: PluginManager, spec: str, persistent: bool, todo: list[tuple[str, int, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile(dir=MEMORY) as in_memory:
        content = bytearray(SIZE)
        for name in ("base", "disk"):
            Path(folder, name).write_bytes(content)
        with open(f"{folder}/base", "r+b") as base:
            base.seek(100 * BLOCK)
            content[100 * BLOCK : 200 * BLOCK] = b"B" * 100 * BLOCK if ":{dir}/base" in spec else bytes(100 * BLOCK)
            base.write(b"B" * 100 * BLOCK)
        in_memory.truncate(SIZE)
        text = spec.format(dir=folder, size=SIZE, name=Path(in_memory.name).name)

        def make() -> Backstore:
            store = build(parse_spec(text), manager.registry)
            store.open()
            return store

        twin = Twin(make, content, persistent)
        try:
            assert twin.store.size == SIZE
            for call, block, count, fill in todo:
                offset = block * BLOCK
                twin.do(call, offset, min(count * BLOCK, SIZE - offset), fill)
            for call in ("read", "extents", "reopen", "read"):
                twin.do(call, 0, SIZE, 0)
        finally:
            twin.store.close()


@pytest.mark.parametrize("spec", PERSISTENT)
@given(todo=steps)
@settings(max_examples=20, deadline=None)
def test_a_kept_disk_reads_as_written(manager: PluginManager, spec: str, todo: list[tuple[str, int, int, int]]) -> None:
    run(manager, spec, True, todo)


@pytest.mark.parametrize("spec", VOLATILE)
@given(todo=steps)
@settings(max_examples=20, deadline=None)
def test_a_disk_in_memory_reads_as_written(
    manager: PluginManager, spec: str, todo: list[tuple[str, int, int, int]]
) -> None:
    run(manager, spec, False, todo)
