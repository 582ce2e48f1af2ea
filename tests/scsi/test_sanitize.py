"""SANITIZE: what it leaves, how others see it, and that neither resets nor lost nexuses end it."""

from __future__ import annotations

import pytest

from iscsitools.wire.scsi import ManagementFunction

from .sanitizing import EncryptedStore, pattern, sanitize
from .support import FIELD, LIST_FIELD, READ, TUR, Bench, MemoryStore

SENSE = "030000001200"
BLOCK_ERASE, OVERWRITE, CRYPTO_ERASE, EXIT = 2, 1, 3, 0x1F
IMMED, AUSE = 0x80, 0x20
IN_PROGRESS, FAILED = (2, 0x041B), (3, 0x3103)


@pytest.fixture(params=[False, True], ids=["here", "in a thread"])
def bench(request):
    made = Bench(MemoryStore(blocks=8192, blocking=request.param), removable=True)
    made.store.data[:] = b"\x11" * len(made.store.data)
    return made


def test_block_erase(bench):
    a = bench.initiator()
    task = a.send(sanitize(BLOCK_ERASE))
    assert task not in a.ended
    bench.finish()
    assert task.status == 0
    assert set(bench.store.data) == {0}
    assert bench.store.calls == ["discard"] * 4 + ["flush"]
    assert a.run("1201b1" + "004000").data[7] == 0x40


@pytest.mark.parametrize("blocking", [False, True])
def test_cryptographic_erase_changes_the_key(blocking):
    bench = Bench(EncryptedStore(blocks=8192, blocking=blocking))
    a, b = bench.initiator(), bench.initiator("bb")
    assert a.run("a30c02480003000000ff0000").data[1] & 7 == 3
    bench.executor.begins = False
    task = a.send(sanitize(CRYPTO_ERASE))
    assert b.send(READ).sense[12:14] == b"\x04\x1b"
    bench.finish()
    assert task.status == 0
    assert bench.store.calls == ["flush", "crypto_erase"]
    bench.executor.begins = True
    read = b.send(READ)
    bench.finish()
    assert read.data_in == b"\x5c" * 512
    assert a.run(sanitize(CRYPTO_ERASE, 8), bytes(8)).code == FIELD


def test_a_key_that_could_not_be_changed_is_a_failure():
    bench = Bench(EncryptedStore(blocks=8192))
    a = bench.initiator()
    bench.store.error = OSError(5, "broken")
    a.send(sanitize(IMMED | AUSE | CRYPTO_ERASE))
    bench.finish()
    assert a.run(TUR).code == FAILED
    bench.store.error = None
    assert a.run(sanitize(CRYPTO_ERASE)).good
    assert a.run(READ).data == b"\x5c" * 512


def test_where_nothing_encrypts_there_is_no_cryptographic_erase():
    a = Bench().initiator()
    assert a.run(sanitize(CRYPTO_ERASE)).code == FIELD
    assert a.run("a30c02480003000000ff0000").data[1] & 7 == 1


@pytest.mark.parametrize(
    ("head", "data", "left"),
    [
        (1, b"abc", b"abcab"),
        (2, b"\x0f", b"\x0f" * 5),
        (0x82, b"\x0f", b"\xf0" * 5),
        (0x83, b"\x0f\xf0", b"\x0f\xf0\x0f"),
    ],
)
def test_overwrite(bench, head, data, left):
    a = bench.initiator()
    written = pattern(head, data)
    task = a.send(sanitize(OVERWRITE, len(written)), written)
    bench.finish()
    assert task.status == 0
    assert bench.store.data[: len(left)] == left
    assert bench.store.data[512 : 512 + len(left)] == left
    assert bench.store.calls.count("write") == 4 * (head & 0x1F)


@pytest.mark.parametrize(
    ("action", "data", "code"),
    [
        (OVERWRITE, b"", FIELD),
        (OVERWRITE, bytes(4), FIELD),
        (OVERWRITE, bytes(600), FIELD),
        (OVERWRITE, pattern(0, b"a"), LIST_FIELD),
        (OVERWRITE, pattern(0x21, b"a"), LIST_FIELD),
        (OVERWRITE, pattern(1, b"ab")[:-1], LIST_FIELD),
        (BLOCK_ERASE, bytes(8), FIELD),
        (0x40 | BLOCK_ERASE, b"", FIELD),
        (3, b"", FIELD),
    ],
)
def test_what_cannot_be_asked_for(action, data, code):
    bench = Bench()
    assert bench.initiator().run(sanitize(action, len(data)), data).code == code
    assert bench.initiator("bb").run(TUR).good


def test_others_see_how_far_it_is(bench):
    a, b = bench.initiator(), bench.initiator("bb")
    assert a.send(sanitize(IMMED | BLOCK_ERASE)) in a.ended
    assert b.send(READ).sense[12:14] == b"\x04\x1b"
    assert b.send(sanitize(BLOCK_ERASE)).sense[12:14] == b"\x04\x1b"
    assert b.send("120000002400").status == 0
    for start_stop in ("1b0000000200", "1b0000000100", "1b0000000000", "1b0000001000"):
        assert b.send(start_stop).sense[12:14] == b"\x04\x1b"
    seen = []
    while bench.executor.steps:
        seen.append(b.send(SENSE).data_in[15:18].hex())
        bench.executor.step()
    assert seen in ([], ["800000", "804000", "808000", "80c000", "80ffff"][: len(seen)])
    bench.finish()
    assert b.run(TUR).good


def test_only_three_commands_are_answered_meanwhile(bench):
    """SBC-3 4.11.2: INQUIRY, REPORT LUNS and REQUEST SENSE; what tells of reservations, modes or logs is none."""
    a, b = bench.initiator(), bench.initiator("bb")
    a.send(sanitize(IMMED | BLOCK_ERASE))
    key = bytes(8) + b"12345678" + bytes(8)
    for cdb, out in (
        ("5e000000000000ff0000", b""), ("5f000000000000001800", key), ("1a003f00ff00", b""),
        ("4d006f00000000020000", b""),
        ("a30a00000000000001000000", b""), ("a30c00000000000001000000", b""), ("1e0000000100", b""),
        ("160000000000", b""), ("1d0400000000", b""), ("84030000000000000000000001000000", b""),
    ):  # fmt: skip
        assert b.send(cdb, out).sense[12:14] == b"\x04\x1b", cdb
    for cdb in ("120000002400", "a00000000000000001000000", SENSE):
        assert b.send(cdb).status == 0
    bench.finish()
    assert b.run("5e000000000000ff0000").good


@pytest.mark.parametrize("immediate", [0, IMMED])
def test_no_reset_and_no_lost_nexus_ends_it(bench, immediate):
    a, b = bench.initiator(), bench.initiator("bb")
    task = a.send(sanitize(immediate | BLOCK_ERASE))
    bench.device.manage(ManagementFunction.LOGICAL_UNIT_RESET, b.nexus, 0, 0)
    bench.device.manage(ManagementFunction.CLEAR_TASK_SET, b.nexus, 0, 0)
    bench.device.detach(a.nexus)
    assert a.released == ([] if immediate else [task])
    assert b.send(TUR).sense[12:14] == b"\x29\x03"
    assert b.send(TUR).sense[12:14] == b"\x04\x1b"
    bench.finish()
    assert set(bench.store.data) == {0}
    assert b.run(TUR).good
    assert len(bench.unit.tasks) == 0
    assert set(bench.unit.itl_nexuses) == {b.nexus}


def test_it_waits_for_what_is_at_work_and_what_waits_is_refused():
    bench = Bench(MemoryStore(blocks=8192, blocking=True))
    a, b = bench.initiator(), bench.initiator("bb")
    write = "2a000000000000000100"
    first = b.send(write, bytes(512))
    late = b.task(write, bytes(512))
    bench.device.accept(late)
    a.send(sanitize(IMMED | BLOCK_ERASE))
    assert len(bench.executor.held) == 1
    late.data_out = memoryview(bytes(512))
    late.execute()
    assert late.sense[12:14] == b"\x04\x1b"
    bench.finish()
    assert (first.status, set(bench.store.data)) == (0, {0})


@pytest.mark.parametrize("allowed", [0, AUSE])
def test_after_a_failure_only_what_was_allowed_helps(allowed):
    bench = Bench(MemoryStore(blocks=8192))
    a = bench.initiator()
    bench.store.error = OSError(5, "broken")
    a.send(sanitize(IMMED | allowed | BLOCK_ERASE))
    bench.finish()
    bench.store.error = None
    assert a.run(TUR).code == FAILED
    assert a.run(SENSE).data[12:14] == b"\x31\x03"
    if allowed:
        assert a.run(sanitize(EXIT)).good
    else:
        assert a.run(sanitize(EXIT)).code == FIELD
        assert a.run(sanitize(BLOCK_ERASE)).good
    assert a.run(READ).good


def test_a_reservation_and_write_protection_forbid_it():
    bench = Bench()
    a, b = bench.initiator(), bench.initiator("bb")
    a.run("160000000000")
    assert b.run(sanitize(BLOCK_ERASE)).status == 0x18
    protected = Bench(readonly=True)
    assert protected.initiator().run(sanitize(BLOCK_ERASE)).code == (7, 0x2700)
