"""Parameter lists of any kind: each command ends, with a status, and the unit goes on.

Of two kinds: noise to any command, and for each command that takes a list one that is good with something of it
changed, which gets further.
"""

from __future__ import annotations

import dataclasses
import struct

import pytest
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
COMMANDS = (*DISK.thin, *DISK.atomic, *DISK.encrypted)
TAKERS = [command for command in COMMANDS if command.opcode not in (0x0A, 0x2A, 0xAA, 0x8A)]


class Place:
    executor = InlineExecutor()

    def keep(self, number: int, text: str) -> None:
        pass


class Atomic:
    longest = 1 << 20

    def write(self, store: Backstore, offset: int, data: memoryview) -> None:
        store.write(offset, data)


class Encrypted(MemoryStore):
    """Says that it can change its key."""

    def __init__(self) -> None:
        super().__init__()
        self.caps = dataclasses.replace(self.caps, crypto_erase=True)

    def crypto_erase(self) -> None:
        self._call("crypto_erase")


def bench_with_all() -> Bench:
    """A unit that has every command, and a place for everything that is kept."""
    store = Encrypted()
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
            0xA4: (6, ">I"), 0x83: (10, ">I"), 0x9C: (12, ">H"), 0x3B: (7, ">H"), 0x1D: (3, ">H"),
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


ZERO_TOKEN = struct.pack(">I2xH", 0xFFFF0001, 0x1F8).ljust(512, b"\0")
RANGE = struct.pack(">QI4x", 3, 8)
BASIC = struct.pack(">QQ8x", 0, 1)
CSCD = struct.pack(">BBHBBBB8s12xI", 0xE4, 0, 0, 1, 3, 0, 8, Bench().unit.identity.naa, 512)
SEGMENT = struct.pack(">BBHHH2xHQQ", 2, 0, 24, 0, 1, 4, 0, 16)
CONTROL = bytes.fromhex("0a0a00100000000000000000")
GOOD = {
    "FORMAT UNIT": ("041000000000", bytes.fromhex("00820000")),
    "MODE SELECT(6)": ("1510000010", bytes(4) + CONTROL),
    "MODE SELECT(10)": ("55100000000000001400", bytes(8) + CONTROL),
    "SEND DIAGNOSTIC": ("1d0400000000", b""),
    "WRITE BUFFER": ("3b020000000000000400", b"abcd"),
    "UNMAP": ("42000000000000001800", struct.pack(">HH4x", 22, 16) + RANGE),
    "SANITIZE, OVERWRITE": ("48010000000000000800", struct.pack(">BxH4s", 1, 4, b"abcd")),
    "LOG SELECT": ("4c000000000000000000", b""),
    "PERSISTENT RESERVE OUT, REGISTER": ("5f000000000000001800", BASIC),
    "PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY": ("5f060000000000001800", BASIC),
    "EXTENDED COPY(LID1)": (
        "830000000000000000000000006c0000", struct.pack(">BBH4xII", 1, 0, 64, 28, 0) + CSCD + CSCD + SEGMENT
    ),
    "POPULATE TOKEN": (
        "83100000000000000001000000200000", struct.pack(">HBxII2xH", 30, 0, 0, 0, 16) + RANGE
    ),
    "WRITE USING TOKEN": (
        "83110000000000000002000002280000",
        struct.pack(">HB5xQ", 550, 0, 0) + ZERO_TOKEN + struct.pack(">6xH", 16) + RANGE,
    ),
    "SET TARGET PORT GROUPS": ("a40a000000000000000c0000", bytes(4) + bytes.fromhex("0000000102000002")),
    "SET TIMESTAMP": ("a40f000000000000000c0000", bytes.fromhex("00000000" + "0000000003e8" + "0000")),
}  # fmt: skip
"""For each command with a parameter list a CDB and a list that are good; SEND DIAGNOSTIC and LOG SELECT take none."""
CHANGES = st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=4)


@pytest.mark.parametrize("name", GOOD)
def test_a_list_that_is_good_is_taken(name):
    cdb, data = GOOD[name]
    assert bench_with_all().initiator().run(cdb, data).status == 0


@pytest.mark.parametrize("name", GOOD)
@seed(20261127)
@settings(max_examples=60, deadline=None)
@given(changes=CHANGES, length=st.integers(-8, 8))
def test_a_good_list_with_something_changed(name, changes, length):
    cdb, data = GOOD[name]
    changed = bytearray(data[: len(data) + length] if length < 0 else data + bytes(length))
    for at, value in changes:
        if changed:
            changed[at % len(changed)] = value
    bench = bench_with_all()
    a = bench.initiator()
    answer = a.run(cdb, bytes(changed) or b"\0")
    assert answer.status in (0, 2, 4, 8, 0x18)
    assert answer.code is None or answer.code[0] != 4, "an internal failure"
    bench.finish()
    assert list(bench.unit.tasks) == []
    assert a.run("120000002400").good
