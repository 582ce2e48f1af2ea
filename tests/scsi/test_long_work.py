"""Commands that compute are done in steps on the loop: others get their turn in between, and an abort ends them."""

from __future__ import annotations

import pytest

from iscsitools.wire.scsi import ManagementFunction

from .support import TUR, Bench, MemoryStore


@pytest.fixture
def large():
    return Bench(MemoryStore(blocks=8192, block_size=4096), block_size=4096)


WRITE_SAME = "93000000000000000000000020000000"


def test_a_long_command_lets_others_have_their_turn(large):
    a, b = large.initiator(), large.initiator("bb")
    same = a.send(WRITE_SAME, b"\x22" * 4096)
    overlapping = b.send("28000000100000000100")
    assert b.send(TUR) in b.ended
    assert not {same, overlapping} & {*a.ended, *b.ended}
    large.finish()
    assert same.status == 0
    assert large.executor.resumed == 31  # 32 MiB, one in each step
    assert set(overlapping.data_in) == {0x22}
    assert set(large.store.data) == {0x22}


def test_an_abort_ends_a_long_command_at_the_next_step(large):
    a = large.initiator()
    same = a.send(WRITE_SAME, b"\x22" * 4096)
    assert large.device.manage(ManagementFunction.ABORT_TASK, a.nexus, 0, same.tag)[1] == [same]
    assert a.released == []
    large.finish()
    assert (a.released, large.executor.resumed) == ([same], 1)
    assert large.store.data[4 << 20] == 0


def test_an_error_in_a_later_step_is_the_commands():
    bench = Bench(MemoryStore(blocks=8192, block_size=4096), block_size=4096)
    a = bench.initiator()
    same = a.send(WRITE_SAME, b"\x22" * 4096)
    bench.store.error = OSError(5, "no more")
    bench.finish()
    assert (same.status, same.sense[2]) == (2, 3)
    assert len(bench.unit.tasks) == 0


def test_of_several_long_commands_one_step_is_done_at_a_time(large):
    """The second does not even begin before the first one's next step; its cost is nobody's then."""
    a = large.initiator()
    first = a.send(WRITE_SAME, b"\x22" * 4096)
    second = a.send(f"8f00{0x1000:016x}{0x100:08x}0000")  # VERIFY
    assert (first.cost, second.cost, large.store.calls) == (1 << 20, 0, ["write"])
    assert second not in a.ended
    large.finish()
    assert (first.status, second.status) == (0, 0)
