"""Requests whose time is over: BUSY, and nothing overtakes a write that may still land."""

from __future__ import annotations

import errno

from iscsitools.backstores.base import Operation, Request

from iscsitools_rbd.patience import Patience


class Bench:
    def __init__(self) -> None:
        self.now = 0.0
        self.patience = Patience(10.0, lambda: self.now)
        self.told: dict[Request, int | None] = {}

    def begin(self, operation: Operation, offset: int = 0, length: int = 512) -> tuple[Request, bool]:
        request = Request(operation, offset, length)
        request.begin(self._tell)
        return request, self.patience.begin(request)

    def _tell(self, request: Request, error: BaseException | None) -> None:
        self.told[request] = getattr(error, "errno", None)

    def at(self, now: float) -> None:
        self.now = now
        self.patience.look()


def test_what_is_answered_in_time_is_not_late() -> None:
    bench = Bench()
    request, _ = bench.begin(Operation.WRITE)
    bench.at(9.9)
    assert bench.patience.end(request)
    bench.at(20)
    assert bench.told == {}


def test_a_late_write_gets_busy_and_keeps_its_blocks_until_it_has_landed() -> None:
    bench = Bench()
    late, _ = bench.begin(Operation.WRITE, 512, 1024)
    bench.at(5)
    in_time, _ = bench.begin(Operation.WRITE, 4096)
    bench.at(10.5)
    assert bench.told == {late: errno.EBUSY}
    assert bench.patience.waiting_for == 10.5
    for operation in (Operation.READ, Operation.WRITE, Operation.DISCARD, Operation.WRITE_ZEROES):
        overlapping, sent = bench.begin(operation, 1024)
        assert (sent, bench.told[overlapping]) == (False, errno.EBUSY)
        assert bench.begin(operation, 0)[1]
        assert bench.begin(operation, 1536)[1]
    assert bench.begin(Operation.FLUSH)[1]
    assert bench.patience.end(in_time)
    assert not bench.patience.end(late)  # it lands: its buffers are not touched, and its blocks are free
    assert bench.begin(Operation.WRITE, 1024)[1]
    assert bench.patience.waiting_for == 0


def test_a_late_read_keeps_nobody_off() -> None:
    bench = Bench()
    late, _ = bench.begin(Operation.READ)
    bench.at(11)
    assert bench.told == {late: errno.EBUSY}
    assert bench.begin(Operation.WRITE)[1]
