"""Asynchronous calls of a backstore, in both ways, below the kit's tests, a server, and each of the rules."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from functools import partial

import pytest

from iscsitools.backstores.asynchronous import read_request, write_request
from iscsitools.backstores.base import Filter, MediumError, Operation, Request
from iscsitools.backstores.filters.delay import DelayFilter
from iscsitools.backstores.ram import RamBackstore
from iscsitools.initiator import Session
from iscsitools.testing.fixtures import served as served
from iscsitools.testing.model import check_model

from . import asynchronous_store
from .asynchronous_store import STORES, AsynchronousRam

ABORT_TASK = 1
MISCOMPARE, UNMAP = "8900", "4200000000000000"
WAYS = pytest.mark.parametrize("way", ["thread", "eventfd"])
Serve = Callable[..., Session]


@WAYS
@pytest.mark.parametrize("compares", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_the_model_holds(way: str, compares: bool, seed: int) -> None:
    check_model(lambda: AsynchronousRam("1M", way, compares), seed)


@pytest.mark.parametrize("seed", range(3))
def test_the_model_holds_below_filters(seed: int) -> None:
    check_model(lambda: Filter(AsynchronousRam("1M")), seed)
    check_model(lambda: DelayFilter(AsynchronousRam("1M")), seed)


def test_the_model_finds_what_was_not_compared() -> None:
    class Careless(AsynchronousRam):
        def _do(self, request: Request) -> None:
            if request.operation is Operation.COMPARE_AND_WRITE:
                RamBackstore.write(self, request.offset, request.buffer)
            else:
                super()._do(request)

    with pytest.raises(AssertionError, match="compare_and_write: the difference is at byte"):
        check_model(lambda: Careless("1M"), 1)


class OneAtATime(AsynchronousRam):
    """Forgets all but the last of several."""

    def submit(self, request: Request) -> None:
        with self._go:
            for other in self.waiting:
                other.complete()
            self.waiting.clear()
        super().submit(request)


class AllTheSame(AsynchronousRam):
    """Does what it has let go all the same, and says so."""

    def cancel(self, request: Request) -> bool:
        if request in self.submitted_now:
            RamBackstore.write(self, request.offset, memoryview(bytes(request.length)))
        return True

    @property
    def submitted_now(self) -> list[Request]:
        return [request for request in self.waiting if request.operation is Operation.WRITE]


class Late(AsynchronousRam):
    """Says that it has let a request go, and completes it."""

    def cancel(self, request: Request) -> bool:
        return True


@pytest.mark.parametrize(
    ("careless", "complaint"),
    [(OneAtATime, "other bytes"), (AllTheSame, "other bytes"), (Late, "is complete, and was taken back|other bytes")],
)
def test_the_model_finds_what_is_wrong_beside_others(careless: type[AsynchronousRam], complaint: str) -> None:
    def tried() -> None:
        for seed in range(5):
            check_model(lambda: careless("1M"), seed)

    with pytest.raises(AssertionError, match=complaint):
        tried()


def serve(served: Serve, options: str = "") -> tuple[Session, AsynchronousRam]:
    session = served(f"aram:1M{options}", plugins=(asynchronous_store,))
    return session, STORES[-1]


def cdb(code: int, lba: int, blocks: int, flags: int = 0) -> bytes:
    return bytes([code, flags]) + lba.to_bytes(8, "big") + blocks.to_bytes(4, "big") + bytes(2)


def read16(lba: int, blocks: int, fua: bool = False) -> bytes:
    return cdb(0x88, lba, blocks, 8 * fua)


def write16(lba: int, blocks: int, fua: bool = False) -> bytes:
    return cdb(0x8A, lba, blocks, 8 * fua)


@WAYS
def test_a_server_makes_asynchronous_calls_and_no_threads(served: Serve, way: str) -> None:
    session, store = serve(served, f",way={way}")
    data = os.urandom(64 * 512)
    tasks = [session.start_command(write16(n, 1), write=data[n * 512 :][:512]) for n in range(64)]
    assert all(session.wait(task).good for task in tasks)
    assert session.read(0, 64) == data
    assert session.command(write16(0, 1, fua=True), write=data[:512]).good
    assert session.command(read16(0, 1, fua=True), read=512).data == data[:512]
    assert session.command(bytes.fromhex("3500000000000000000000"[:20])).good
    assert session.command(cdb(0x93, 8, 8, 0x01)).good  # WRITE SAME with NDOB
    unmap = b"\0\x16\0\x10" + bytes(4) + (16).to_bytes(8, "big") + (8).to_bytes(4, "big") + bytes(4)
    assert session.command(bytes.fromhex("42000000000000001800"), write=unmap).good
    compare = bytes([0x89, 0]) + (0).to_bytes(8, "big") + bytes([0, 0, 0, 1, 0, 0])
    assert session.command(compare, write=data[:512] + b"n" * 512).good
    wrong = session.command(compare, write=data[:512] + b"n" * 512)
    assert (wrong.sense[2] & 15, wrong.sense[12]) == (0x0E, 0x1D)
    assert session.read(0, 24) == b"n" * 512 + data[512 : 8 * 512] + bytes(8 * 512) + bytes(8 * 512)
    assert set(store.submitted) == set(Operation)
    assert store.blocking_calls == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lun0-")]


def test_compare_and_write_that_the_store_does_not_take_is_a_read_and_a_write(served: Serve) -> None:
    session, store = serve(served, ",compares=no")
    compare = bytes([0x89, 0]) + (0).to_bytes(8, "big") + bytes([0, 0, 0, 1, 0, 0])
    assert session.command(compare, write=bytes(512) + b"n" * 512).good
    assert session.command(compare, write=bytes(512) + b"m" * 512).sense[12] == 0x1D
    assert store.submitted == [Operation.READ, Operation.WRITE, Operation.READ]
    assert session.read(0, 1) == b"n" * 512
    assert store.blocking_calls == []


@WAYS
@pytest.mark.parametrize(
    ("error", "sense"),
    [
        (OSError(errno.ENOSPC, "full"), (7, 0x27, 0x07)),
        (OSError(errno.EBUSY, "later"), (0, 0, 0)),
        (OSError(errno.ENODEV, "gone"), (2, 0x04, 0x00)),
        (MediumError("bad", 512), (3, 0x11, 0x00)),
        (ValueError("a defect"), (4, 0x44, 0x00)),
        (SystemExit(3), (4, 0x44, 0x00)),
    ],
)
def test_errors_are_those_of_blocking_calls(
    served: Serve, way: str, error: BaseException, sense: tuple[int, int, int]
) -> None:
    session, store = serve(served, f",way={way}")
    store.error = error
    assert _sense(session) == sense
    store.error = None
    store.submit = partial(_raise, error)  # type: ignore[method-assign]
    assert _sense(session) == sense
    del store.submit
    assert session.read(0, 1) == bytes(512)


def _sense(session: Session) -> tuple[int, int, int]:
    """Sense key, ASC and ASCQ of a read; all 0: it was BUSY."""
    result = session.command(read16(0, 1), read=512)
    if result.status == 0x08:
        return 0, 0, 0
    return result.sense[2] & 15, result.sense[12], result.sense[13]


def test_a_size_that_a_store_tells_of_below_a_filter_reaches_initiators(served: Serve) -> None:
    session = served("aram+delay:1M", plugins=(asynchronous_store,))
    store = STORES[-1]
    store.resize(2 << 20)
    store.host.size_changed()
    while (result := session.command(bytes(6))).good:
        pass
    assert (result.sense[2] & 15, result.sense[12], result.sense[13]) == (6, 0x2A, 0x09)
    assert session.read_capacity() == (4096, 512)


def _raise(error: BaseException, *_arguments: object) -> None:
    raise error


@WAYS
def test_overlapping_commands_wait_and_others_go_on(served: Serve, way: str) -> None:
    session, store = serve(served, f",way={way}")
    with store.held():
        first = session.start_command(write16(0, 8), write=b"1" * 4096)
        second = session.start_command(write16(7, 8), write=b"2" * 4096)
        third = session.start_command(read16(100, 8), read=4096)
        session.nop()
        assert [request.offset for request in store.waiting] == [0, 100 * 512]
    assert all(session.wait(task).good for task in (first, second, third))
    assert session.read(0, 15) == b"1" * 7 * 512 + b"2" * 4096


def test_an_aborted_call_is_cancelled_and_gives_its_blocks_back(served: Serve) -> None:
    session, store = serve(served)
    with store.held():
        task = session.start_command(write16(0, 8), write=b"1" * 4096)
        session.nop()
        assert len(store.waiting) == 1
        session.manage(ABORT_TASK, rtt=task.itt)
        assert not store.waiting
        session.start_command(write16(0, 8), write=b"2" * 4096)
        session.nop()
        assert len(store.waiting) == 1  # nothing is in its way
    assert session.read(0, 8) == b"2" * 4096


def test_an_aborted_call_that_cannot_be_cancelled_keeps_its_blocks_and_buffer(served: Serve) -> None:
    session, store = serve(served)
    store.cancel = lambda request: False  # type: ignore[method-assign]
    with store.held():
        task = session.start_command(write16(0, 8), write=b"1" * 4096)
        session.nop()
        session.manage(ABORT_TASK, rtt=task.itt)
        later = session.start_command(write16(0, 8), write=b"2" * 4096)
        session.nop()
        assert [bytes(request.buffer[:1]) for request in store.waiting] == [b"1"]
    assert session.wait(later).good
    assert session.read(0, 8) == b"2" * 4096  # the first one landed before, not after


def test_what_a_cancel_raises_stops_nothing(served: Serve) -> None:
    session, store = serve(served)
    store.cancel = partial(_raise, SystemExit(1))  # type: ignore[method-assign]
    with store.held():
        task = session.start_command(write16(0, 8), write=b"1" * 4096)
        session.nop()
        session.manage(ABORT_TASK, rtt=task.itt)
    assert session.read(0, 8) == b"1" * 4096


def test_a_filter_keeps_what_it_overrides_to_its_methods() -> None:
    class Reads(Filter):
        def read_into(self, offset: int, buffer: memoryview) -> None:
            super().read_into(offset, buffer)

    class Flushes(Filter):
        def flush(self) -> None:
            super().flush()

    class Writes(Filter):
        def write(self, offset: int, buffer: memoryview) -> None:
            super().write(offset, buffer)

    everything, store = frozenset(Operation), AsynchronousRam("1M")
    assert Filter(store).asynchronous == everything
    assert Filter(Reads(store)).asynchronous == everything - {Operation.READ, Operation.COMPARE_AND_WRITE}
    assert Flushes(store).asynchronous == everything - {Operation.FLUSH}
    assert Writes(store).asynchronous == {Operation.READ, Operation.FLUSH}
    assert Reads(Writes(store)).asynchronous == {Operation.FLUSH}
    assert DelayFilter(store).asynchronous == frozenset()


def test_requests_are_performed_by_the_blocking_methods_too() -> None:
    store = AsynchronousRam("1M")
    write_request(512, memoryview(b"x" * 512), durable=True).perform(store)
    found = bytearray(512)
    read_request(512, memoryview(found)).perform(store)
    assert found == b"x" * 512
    assert store.submitted == []
