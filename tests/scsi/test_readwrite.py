"""READ and WRITE of all sizes, FUA, the write cache, errors of the backstore."""

from __future__ import annotations

import errno

import pytest

from iscsitools.backstores.base import Capabilities, MediumError
from iscsitools.scsi.core.options import MAX_TRANSFER
from iscsitools.wire.scsi import Status

from .support import Bench, MemoryStore

DATA = bytes(range(256)) * 4  # two blocks

WRITES = {
    "6": "0a0000050200",
    "10": "2a000000000500000200",
    "12": "aa0000000005000000020000",
    "16": "8a000000000000000005000000020000",
    "verify 10": "2e000000000500000200",
    "verify 12": "ae0000000005000000020000",
    "verify 16": "8e020000000000000005000000020000",
    "or": "8b000000000000000005000000020000",
}
READS = {
    "6": "080000050200",
    "10": "28000000000500000200",
    "12": "a80000000005000000020000",
    "16": "88000000000000000005000000020000",
}


@pytest.mark.parametrize("blocking", [False, True])
@pytest.mark.parametrize("write", WRITES)
def test_every_write_arrives(write, blocking):
    bench = Bench(MemoryStore(blocking=blocking))
    a = bench.initiator()
    task = a.send(WRITES[write], DATA)
    bench.finish()
    assert task in a.ended
    assert task.status == 0
    assert bench.store.data[5 * 512 : 7 * 512] == DATA


@pytest.mark.parametrize("blocking", [False, True])
@pytest.mark.parametrize("read", READS)
def test_every_read_brings_it(read, blocking):
    bench = Bench(MemoryStore(blocking=blocking))
    bench.store.data[5 * 512 : 7 * 512] = DATA
    a = bench.initiator()
    task = a.send(READS[read])
    assert (task in a.ended) != blocking
    while bench.executor.held:
        bench.executor.run()
    assert (task.status, bytes(task.data_in)) == (0, DATA)


def test_length_0_of_the_6_byte_form_is_256_blocks():
    a = Bench(MemoryStore(blocks=264)).initiator()
    assert len(a.run("080000000000").data) == 256 * 512


def test_length_0_moves_nothing():
    a = Bench().initiator()
    assert a.run("28000000000000000000").data == b""
    assert a.run("28000000010000000000").good
    assert a.run("28000000010100000000").code == (5, 0x2100)


def test_more_than_the_maximum_transfer_is_refused():
    blocks = MAX_TRANSFER // 512
    a = Bench(MemoryStore(blocks=2 * blocks)).initiator()
    assert a.run(b"\x28" + bytes(6) + blocks.to_bytes(2, "big") + b"\0", edtl=512).good
    answer = a.run(b"\x28" + bytes(6) + (blocks + 1).to_bytes(2, "big") + b"\0", edtl=512)
    assert answer.code == (5, 0x2400)
    assert answer.sense[15:18].hex() == "c00007"


@pytest.mark.parametrize(
    ("write_cache", "cdb", "calls"),
    [
        (True, "2a000000000500000200", ["write"]),
        (True, "2a080000000500000200", ["write", "flush"]),
        (True, "2a100000000500000200", ["write"]),
        (False, "2a000000000500000200", ["write", "flush"]),
        (True, "28080000000500000200", ["flush", "read"]),
        (False, "28080000000500000200", ["flush", "read"]),
        (True, "35000000000000000000", ["flush"]),
        (True, "91000000000000000000000000000000", ["flush"]),
    ],
)
def test_what_the_backstore_is_asked(write_cache, cdb, calls):
    bench = Bench(write_cache=write_cache)
    a = bench.initiator()
    assert a.run(cdb, DATA if cdb[0] == "2" and cdb[1] == "a" else b"").good
    assert bench.store.calls == calls


@pytest.mark.parametrize("write_cache", [True, False])
def test_a_read_with_fua_flushes_only_what_may_be_unflushed(write_cache):
    class Tracking(MemoryStore):
        unflushed = True

        def flush(self):
            super().flush()
            self.unflushed = False

    bench = Bench(Tracking(), write_cache=write_cache)
    a = bench.initiator()
    for _ in range(2):
        assert a.run("28080000000500000200").good
    assert bench.store.calls == ["flush", "read", "read"]
    bench.store.unflushed = True
    assert a.run("28080000000500000200").good
    assert bench.store.calls[3:] == ["flush", "read"]


def test_protection_bits_are_refused_with_their_place():
    answer = Bench().initiator().run("28200000000000000100")
    assert (answer.code, answer.sense[15:18].hex()) == ((5, 0x2400), "cd0001")


def test_naca_is_refused():
    assert Bench().initiator().run("000000000004").sense[15:18].hex() == "ca0005"


def test_group_number_and_fua_nv_are_ignored():
    assert Bench().initiator().run("2802000000001f000100").good


@pytest.mark.parametrize("readonly", [True, False])
def test_write_protection(readonly):
    store = MemoryStore()
    if not readonly:
        store.caps = type(store.caps)(read_only=True)
    bench = Bench(store, readonly=readonly)
    a = bench.initiator()
    for cdb in (*WRITES.values(), "89", "41", "93"):
        assert a.run(cdb, DATA).code == (7, 0x2700)
    assert a.run(READS["10"]).good
    assert a.run("1a003f00ff00").data[2] & 0x80


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (OSError(errno.ENOSPC, "full"), Status.CHECK_CONDITION, (7, 0x2707)),
        (OSError(errno.EIO, "bad"), Status.CHECK_CONDITION, (3, 0x0C00)),
        (OSError(errno.EROFS, "ro"), Status.CHECK_CONDITION, (7, 0x2700)),
        (OSError(errno.ENXIO, "gone"), Status.CHECK_CONDITION, (2, 0x0400)),
        (OSError(errno.EINVAL, "?"), Status.CHECK_CONDITION, (4, 0x4400)),
        (MediumError("bad", 6 * 512), Status.CHECK_CONDITION, (3, 0x0C00)),
        (ValueError("a bug"), Status.CHECK_CONDITION, (4, 0x4400)),
        (MemoryError(), Status.BUSY, None),
    ],
)
@pytest.mark.parametrize("blocking", [False, True])
def test_errors_of_the_backstore_become_sense(error, status, code, blocking):
    bench = Bench(MemoryStore(blocking=blocking))
    bench.store.error = error
    a = bench.initiator()
    task = a.send(WRITES["10"], DATA)
    if blocking:
        bench.executor.run()
    found = (task.sense[2], task.sense[12] << 8 | task.sense[13]) if task.sense else None
    assert (task.status, found) == (status, code)


def test_the_failing_block_is_named():
    bench = Bench()
    a = bench.initiator()
    bench.store.error = MediumError("bad", 6 * 512)
    assert a.run(READS["10"]).sense[:7].hex() == "f0000300000006"
    bench.store.error = OSError(errno.EIO, "bad")
    assert a.run(READS["10"]).sense[:7].hex() == "f0000300000005"


def test_each_kind_of_error_is_logged_at_once(caplog):
    bench = Bench()
    a = bench.initiator()
    for error in (OSError(errno.EIO, "x"), OSError(errno.ENOSPC, "y"), ValueError("z"), ValueError("z")):
        bench.store.error = error
        a.run(READS["10"])
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 3


def test_orwrite_sets_bits():
    bench = Bench()
    bench.store.data[512 * 5 : 512 * 6] = b"\x0f" * 512
    a = bench.initiator()
    assert a.run("8b000000000000000005000000010000", b"\x3c" * 512).good
    assert bench.store.data[512 * 5 : 512 * 6] == b"\x3f" * 512


def test_prefetch_meets_its_condition():
    a = Bench().initiator()
    assert a.run("34000000000500000200").status == Status.CONDITION_MET
    assert a.run("90020000000000000005000000020000").status == Status.CONDITION_MET
    assert a.run("3400000000ff00000200").code == (5, 0x2100)


def test_a_medium_that_turns_read_only_while_it_is_served_is_write_protected():
    bench = Bench()
    a = bench.initiator()
    assert a.run(WRITES["10"], DATA).good
    bench.store.caps = Capabilities(read_only=True, volatile_cache=True, thin=True)
    bench.store.error = OSError(errno.EPERM, "Operation not permitted")
    assert a.run(WRITES["10"], DATA).code == (7, 0x2700)
    bench.store.error = None
    assert not bench.unit.itl_nexuses[a.nexus].gate.write_open
    assert a.run("1a003f00ff00").data[2] & 0x80
    assert a.run(WRITES["10"], DATA).code == (7, 0x2700)
    bench.store.caps = Capabilities(volatile_cache=True, thin=True)
    bench.unit.capacity_changed()
    assert a.run(WRITES["10"], DATA).good
