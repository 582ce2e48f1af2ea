"""Commands of several calls, and of none that a backstore takes, over a backstore that answers later."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from iscsitools.backstores.base import Operation
from iscsitools.initiator import Session
from iscsitools.testing.fixtures import served as served

from . import asynchronous_store
from .asynchronous_store import STORES, AsynchronousRam

ABORT_TASK = 1
UNMAP, GET_LBA_STATUS = bytes.fromhex("42000000000000002800"), bytes.fromhex("9e120000000000000000000000200000")
RANGES = (38).to_bytes(2, "big") + (32).to_bytes(2, "big") + bytes(4) + b"".join(
    lba.to_bytes(8, "big") + (8).to_bytes(4, "big") + bytes(4) for lba in (0, 16)
)  # fmt: skip
"""The parameter list of an UNMAP of blocks 0 to 7 and 16 to 23: two calls."""


@pytest.fixture(params=["thread", "eventfd"])
def served_later(request: pytest.FixtureRequest, served: Callable[..., Session]) -> tuple[Session, AsynchronousRam]:
    session = served(f"aram:1M,way={request.param}", plugins=(asynchronous_store,))
    return session, STORES[-1]


def discards(store: AsynchronousRam) -> int:
    return store.submitted.count(Operation.DISCARD)


def test_all_calls_of_a_command_are_made(served_later: tuple[Session, AsynchronousRam]) -> None:
    session, store = served_later
    session.write(0, b"x" * 24 * 512)
    assert session.command(UNMAP, write=RANGES).good
    assert discards(store) == 2
    assert session.read(0, 24) == bytes(8 * 512) + b"x" * 8 * 512 + bytes(8 * 512)


def test_after_a_call_that_failed_the_next_one_is_not_made(served_later: tuple[Session, AsynchronousRam]) -> None:
    session, store = served_later
    store.error = OSError(errno.ENOSPC, "full")
    assert session.command(UNMAP, write=RANGES).sense[2] & 15 == 7
    assert discards(store) == 1


def test_after_the_abort_of_a_command_its_next_call_is_not_made(served_later: tuple[Session, AsynchronousRam]) -> None:
    session, store = served_later
    store.cancel = lambda request: False  # type: ignore[method-assign]
    with store.held():
        task = session.start_command(UNMAP, write=RANGES)
        session.nop()
        session.manage(ABORT_TASK, rtt=task.itt)
    session.write(0, b"x" * 512)  # waits for those blocks, and so for the end of the call
    assert discards(store) == 1


def test_what_is_no_call_of_a_backstores_is_done_in_a_thread(served_later: tuple[Session, AsynchronousRam]) -> None:
    session, store = served_later
    status = session.command(GET_LBA_STATUS, read=32)
    assert status.good
    assert len(status.data) >= 24
    assert store.submitted == []
