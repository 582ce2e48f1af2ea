"""A backstore that has asynchronous calls only: what its blocking methods make of them."""

from __future__ import annotations

import threading

import pytest

from iscsitools.backstores.base import Operation, Request, SubmittingBackstore
from iscsitools.backstores.ram import RamBackstore
from iscsitools.testing.model import check_model

SIZE = 1 << 20
ALL = frozenset(Operation) - {Operation.COMPARE_AND_WRITE}


class Submitting(SubmittingBackstore):
    """Bytes of memory, to be had by requests only, each completed in a thread of its own. ``log``: what was asked."""

    blocking = True

    def __init__(self, takes: frozenset[Operation] = ALL) -> None:
        self.takes = takes
        self.log: list[tuple[str, bool]] = []
        self.error: OSError | None = None
        self._memory = RamBackstore(str(SIZE))

    def open(self) -> None:
        self._memory.open()

    def close(self) -> None:
        self._memory.close()

    @property
    def size(self) -> int:
        return SIZE

    @property
    def asynchronous(self) -> frozenset[Operation]:
        return self.takes

    def submit(self, request: Request) -> None:
        assert request.operation in self.takes
        self.log.append((request.operation.name, request.durable))
        threading.Thread(target=self._do, args=(request,)).start()

    def _do(self, request: Request) -> None:
        request.perform(self._memory)
        request.complete(self.error)


@pytest.mark.parametrize("takes", [ALL, frozenset({Operation.READ, Operation.WRITE})])
@pytest.mark.parametrize("seed", range(3))
def test_the_model_holds(takes: frozenset[Operation], seed: int) -> None:
    check_model(lambda: Submitting(takes), seed)


def test_each_method_is_one_request() -> None:
    store = Submitting()
    store.open()
    block = memoryview(bytearray(512))
    store.write(0, block)
    store.write_through(0, block)
    store.read_into(0, block)
    store.flush()
    store.discard(0, 512)
    store.write_zeroes(0, 512)
    assert store.log == [
        ("WRITE", False), ("WRITE", True), ("READ", False), ("FLUSH", False), ("DISCARD", False),
        ("WRITE_ZEROES", False),
    ]  # fmt: skip


def test_what_is_not_taken_is_made_of_what_is() -> None:
    store = Submitting(frozenset({Operation.READ, Operation.WRITE}))
    store.open()
    store.flush()
    assert store.log == []
    store.discard(0, 512)
    store.write_zeroes(512, 512)
    assert store.log == [("WRITE", False)] * 2


def test_the_error_of_a_request_is_raised() -> None:
    store = Submitting()
    store.open()
    store.error = OSError(5, "broken")
    with pytest.raises(OSError, match="broken"):
        store.flush()
