"""READs into several pieces of memory, and WRITEs out of two, with one call of a disk: by the data path in C."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine import harness
from engine.harness import Target, Wire, read10, write10
from support.native import needs_data_path

from iscsitools.backstores.base import Backstore
from iscsitools.backstores.file import FileBackstore
from iscsitools.backstores.ram import RamBackstore
from iscsitools.backstores.syscalls import RWF_NOWAIT
from iscsitools.initiator import Opcode

SIZE = 4 << 20

pytestmark = pytest.mark.skipif(not RWF_NOWAIT, reason="RWF_NOWAIT is Linux's")


@pytest.fixture
def data() -> bytes:
    return random.Random(1).randbytes(SIZE)


@pytest.fixture(params=["file", "ram"])
def store(request: pytest.FixtureRequest, tmp_path: Path, data: bytes) -> Iterator[Backstore]:
    store: Backstore
    if request.param == "file":
        path = tmp_path / "disk.img"
        path.write_bytes(data)
        store = file = FileBackstore(str(path))
        store.open()
        file._spare_the_loop = lambda begin, end: None  # type: ignore[method-assign]
    else:
        store = RamBackstore(str(SIZE))
        store.open()
        store.write(0, memoryview(data))
    yield store
    store.close()


def session(store: Backstore, monkeypatch: pytest.MonkeyPatch, **keys: str) -> Wire:
    monkeypatch.setattr(harness, "data_path", needs_data_path())
    wire = Target(disk=store).session(keys)
    wire.command(bytes(6))
    return wire


@pytest.mark.parametrize(
    ("segment", "burst"), [("512", "262144"), ("516", "65536"), ("8192", "12288"), ("262144", "1048576")]
)
@pytest.mark.parametrize("blocks", [33, 1023, 2048])
def test_parts_of_a_read_hold_its_bytes(
    store: Backstore, data: bytes, segment: str, burst: str, blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = session(
        store, monkeypatch, MaxRecvDataSegmentLength=segment, MaxBurstLength=burst, FirstBurstLength="512"
    )  # fmt: skip
    asked: list[object] = []
    monkeypatch.setattr(store, "try_read_into", lambda *call: asked.append(call))
    taken = wire.conn.taken
    parts = wire.command(read10(1, blocks), read=512 * blocks)
    assert b"".join(part.data for part in parts) == data[512 : 512 * (1 + blocks)]
    assert [int.from_bytes(part.bhs[36:40], "big") for part in parts] == list(range(len(parts)))
    assert (wire.conn.taken, asked) == (taken, [])


@pytest.mark.parametrize("first", [512, 4096, 65536])
def test_the_end_of_a_write_is_written_from_where_it_came_to(
    store: Backstore, data: bytes, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = session(store, monkeypatch, InitialR2T="Yes", FirstBurstLength="65536")
    taken, length, lba = wire.conn.taken, 131072, 7
    changed = data[::-1][:length]
    wire.feed(wire.request(write10(lba, length // 512), write=changed[:first], edtl=length))
    (r2t,) = wire.receive()
    assert (r2t.opcode, r2t.buffer_offset) == (Opcode.R2T, first)
    wire.feed(wire.data_out(r2t.itt, changed[first:], first, ttt=r2t.ttt))
    (answer,) = wire.receive()
    assert (answer.opcode, answer.status) == (Opcode.SCSI_RESPONSE, 0)
    assert wire.conn.taken == taken
    found = bytearray(SIZE)
    store.read_into(0, memoryview(found))
    assert found == data[: lba * 512] + changed + data[lba * 512 + length :]
