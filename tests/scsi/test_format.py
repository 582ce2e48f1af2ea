"""FORMAT UNIT, and SYNCHRONIZE CACHE behind its status."""

from __future__ import annotations

import pytest

from .support import FIELD, LIST_FIELD, LIST_LENGTH, READ, TUR, Bench, MemoryStore


@pytest.fixture
def bench():
    return Bench()


@pytest.mark.parametrize(("thin", "call"), [(True, "discard"), (False, "write_zeroes")])
@pytest.mark.parametrize(("flags", "data"), [("00", ""), ("10", "00820000"), ("30", "0000000000000000")])
def test_format_leaves_zeros(thin, call, flags, data):
    bench = Bench(thin=thin)
    a = bench.initiator()
    bench.store.data[:] = b"\x11" * len(bench.store.data)
    assert a.run(f"04{flags}00000000", bytes.fromhex(data)).good
    assert bench.store.calls == [call, "flush"]
    assert set(bench.store.data) == {0}


@pytest.mark.parametrize(
    ("flags", "data", "code"),
    [
        ("20", "", FIELD), ("90", "00000000", FIELD), ("10", "01000000", LIST_FIELD), ("10", "00080000", LIST_FIELD),
        ("10", "00000008", LIST_FIELD), ("30", "0000000000000008", LIST_FIELD), ("30", "0000000100000000", LIST_FIELD),
        ("10", "0000", LIST_LENGTH),
    ],
)  # fmt: skip
def test_a_format_that_cannot_be(bench, flags, data, code):
    assert bench.initiator().run(f"04{flags}00000000", bytes.fromhex(data)).code == code
    assert bench.store.calls == []


def test_a_format_runs_alone():
    bench = Bench(MemoryStore(blocking=True))
    a, b = bench.initiator(), bench.initiator("bb")
    b.send(READ)
    task = a.send("040000000000")
    later = b.send(TUR)
    assert len(bench.executor.held) == 1
    bench.executor.run()
    assert (len(bench.executor.held), later in b.ended) == (1, False)
    bench.finish()
    assert (task.status, later in b.ended) == (0, True)


IMMEDIATE = "041000000000", bytes.fromhex("00820000")


@pytest.mark.parametrize("blocking", [False, True])
def test_a_format_behind_its_status_tells_how_far_it_is(blocking):
    bench = Bench(MemoryStore(blocks=65536, blocking=blocking), thin=True)
    bench.executor.begins = False
    bench.store.data[:] = b"\x11" * len(bench.store.data)
    a, b = bench.initiator(), bench.initiator("bb")
    task = a.send(*IMMEDIATE)
    assert (task in a.ended, task.status, 0x11 in bench.store.data) == (True, 0, True)
    for cdb in (TUR, READ, IMMEDIATE[0], "4882" + "00" * 8, "5e000000000000ff0000", "1a003f00ff00", "1e0000000100"):
        assert b.send(cdb, edtl=0).sense[12:14] == b"\x04\x04"
    for cdb in ("120000002400", "a00000000000000001000000", "030000001200"):
        assert b.send(cdb).status == 0
    bench.device.manage(5, b.nexus, 0, 0)
    seen = []
    while bench.executor.steps:
        bench.executor.step()
        sense = b.send("030000001200").data_in
        if sense[2] == 2:
            described = b.send("030100001200").data_in.hex()
            assert described == "7202040400000008" + "02060000" + sense[15:18].hex() + "00"
        seen += [int.from_bytes(sense[16:18], "big")] if sense[12:14] == b"\x04\x04" else []
    assert seen == ([] if blocking else sorted(seen)[: len(seen)])
    assert blocking or seen[0] > 0
    bench.finish()
    assert set(bench.store.data) == {0}
    b.run("030000001200")
    assert b.run(TUR).good


def test_after_a_format_that_failed_only_another_one_helps(bench):
    a = bench.initiator()
    bench.store.error = OSError(5, "broken")
    assert a.send(*IMMEDIATE).status == 0
    bench.finish()
    bench.store.error = None
    assert a.run(READ).code == a.run(TUR).code == (3, 0x3100)
    assert a.send("040000000000").status == 0
    bench.finish()
    assert a.run(READ).good


def test_an_immediate_flush_comes_behind_its_status():
    bench = Bench(MemoryStore(blocking=True))
    bench.executor.begins = False
    a = bench.initiator()
    for cdb in ("35020000000000000000", "9102" + "00" * 14, "35020000000000000000"):
        assert a.send(cdb) in a.ended
    assert len(bench.executor.held) == 1, "no more than one at a time"
    bench.finish()
    assert bench.store.calls == ["flush", "flush"], "those that came meanwhile share one"
    bench.store.error = OSError(5, "broken")
    assert a.send("35020000000000000000").status == 0
    bench.finish()
    bench.store.error = None
    assert a.run("4d006f00000000020000").data[8] == 0x5D
    assert a.run(TUR).good
