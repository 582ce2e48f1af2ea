"""Parameter lists of any kind: each command ends, with a status, and the unit goes on."""

from __future__ import annotations

import struct

from hypothesis import given, seed, settings
from hypothesis import strategies as st

from iscsitools.backstores.base import Backstore, Space
from iscsitools.scsi.commands import DISK
from iscsitools.scsi.core.executor import InlineExecutor
from iscsitools.scsi.core.port_groups import PortGroup, PortGroups
from iscsitools.scsi.spc.transport_id import encode_transport_id

from .support import Bench, MemoryStore

ID = encode_transport_id("iqn.2026-11.example:a,i,0x000000000001")
WORDS = st.sampled_from(
    [b"\0", b"\xff", b"\x08\x12", b"\x0a\x0a", b"\x3f", bytes(8), b"\x01" * 8, struct.pack(">I", len(ID)), ID, ID[:9],
     struct.pack(">QI4x", 3, 8), struct.pack(">H", 16)]
)  # fmt: skip
LISTS = st.one_of(st.binary(max_size=300), st.lists(WORDS, max_size=30).map(b"".join))
TAKERS = [command for command in (*DISK.thin, *DISK.atomic) if command.opcode not in (0x0A, 0x2A, 0xAA, 0x8A)]


class Place:
    executor = InlineExecutor()

    def keep(self, number: int, text: str) -> None:
        pass


class Atomic:
    longest = 1 << 20

    def write(self, store: Backstore, offset: int, data: memoryview) -> None:
        store.write(offset, data)


def bench_with_all() -> Bench:
    """A unit that has every command, and a place for everything that is kept."""
    store = MemoryStore()
    store.told = Space(1 << 20, 1 << 30)
    bench = Bench(store, removable=True, thin=True)
    unit = bench.unit
    unit.reservation_place = Place()
    for part in unit.parts:
        part.place = Place()
    unit.take_atomic(Atomic())
    unit.port_groups = PortGroups({1: PortGroup((1,)), 2: PortGroup((2,))})
    return bench


@seed(20261127)
@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(TAKERS), st.binary(min_size=16, max_size=16), LISTS), min_size=1, max_size=8))
def test_any_list_to_any_command(commands):
    bench = bench_with_all()
    a = bench.initiator()
    for command, noise, data in commands:
        length = command.length
        usage = int.from_bytes(command.usage, "big")
        fixed = usage >> 8 * (length - 1) << 8 * (length - 1)
        cdb = bytearray((fixed | (int.from_bytes(noise[:length], "big") & usage)).to_bytes(length, "big"))
        if command.service_action is not None:
            cdb[1] = command.service_action
        lengths = {
            0x15: (4, ">B"), 0x55: (7, ">H"), 0x42: (7, ">H"), 0x5F: (5, ">I"), 0x48: (7, ">H"), 0x4C: (7, ">H"),
            0xA4: (6, ">I"), 0x83: (10, ">I"), 0x9C: (12, ">H"),
        }  # fmt: skip
        if command.opcode in lengths and noise[0] & 3:
            at, form = lengths[command.opcode]
            struct.pack_into(form, cdb, at, min(len(data), 255))
        answer = a.run(bytes(cdb), data[:255] or b"\0")
        assert answer.status in (0, 2, 4, 8, 0x18)
        assert not answer.sense or answer.sense[0] in (0x70, 0xF0)
        assert answer.code is None or answer.code[0] != 4, "an internal failure"
    assert list(bench.unit.tasks) == []
    a.run("030000001200")
    assert a.run("120000002400").good
