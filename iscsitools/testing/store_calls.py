"""How the kit calls a backstore: each call by its name in one place, whether it answers at once or later."""

from __future__ import annotations

import asyncio
import inspect
import queue
import select
import time
from collections.abc import Awaitable, Sequence
from typing import Any

from iscsitools.backstores.base import Backstore, MiscompareError, Operation, Request

_SECONDS = 60.0


def call(store: Backstore, name: str, *arguments: Any) -> Any:
    """Make a call and return what the method returns; when that is awaitable, what comes of it.

    What the store takes asynchronously is submitted, and its completion waited for, as a server does it.
    """
    request = _request(name, arguments)
    if request is not None and request.operation in store.asynchronous:
        return ask(store, request)
    result = getattr(store, name)(*arguments)
    return asyncio.run(_outcome(result)) if inspect.isawaitable(result) else result


def _request(name: str, arguments: tuple[Any, ...]) -> Request | None:
    """The asynchronous form of a call; None: it has none."""
    if name in ("read_into", "write", "write_through"):
        offset, buffer = arguments
        operation = Operation.READ if name == "read_into" else Operation.WRITE
        return Request(operation, offset, len(buffer), memoryview(buffer), durable=name == "write_through")
    if name in ("flush", "discard", "write_zeroes"):
        return Request(Operation(name), *arguments)
    return None


def ask(store: Backstore, request: Request) -> None:
    """Submit a request and wait until it is complete; raises what it failed with.

    AssertionError when it is not complete after a minute.
    """
    (error,) = ask_together(store, [request])
    if error is not None:
        raise error


class TakenBackError(Exception):
    """How a request ends that the store has let go: it will not complete."""


def ask_together(store: Backstore, requests: Sequence[Request], not_wanted: int = -1) -> list[BaseException | None]:
    """Submit several requests, as a server does that waits for none of them, and take one back; wait for the others.

    ``not_wanted``: its index; -1: none is. Returns what each ended with, :class:`TakenBackError` if ``cancel`` let it
    go. AssertionError when one is not complete after a minute, or completes although it was let go.
    """
    ended: queue.SimpleQueue[tuple[int, BaseException | None]] = queue.SimpleQueue()
    for number, request in enumerate(requests):
        request.begin(lambda _, error, number=number: ended.put((number, error)))  # type: ignore[misc]
        try:
            store.submit(request)
        except Exception as refusal:
            request.complete(refusal)
    found: dict[int, BaseException | None] = {}
    if not_wanted >= 0 and store.cancel(requests[not_wanted]) is True:
        found[not_wanted] = TakenBackError()
    until = time.monotonic() + _SECONDS
    while len(found) < len(requests):
        number, error = _next_end(store, ended, until)
        assert number not in found, f"{store.kind}: {requests[number].operation.name} is complete, and was taken back"
        found[number] = error
    return [found[number] for number in range(len(requests))]


def _next_end(
    store: Backstore, ended: queue.SimpleQueue[tuple[int, BaseException | None]], until: float
) -> tuple[int, BaseException | None]:
    fd = store.completion_fd
    while True:
        try:
            return ended.get(timeout=0 if fd >= 0 else _SECONDS)
        except queue.Empty:
            assert time.monotonic() < until, f"{store.kind}: a request was not completed"
        if select.select([fd], [], [], 0.01)[0]:
            store.reap()


def compare_and_write(store: Backstore, offset: int, expected: bytes, data: bytes) -> int:
    """COMPARE AND WRITE as a server does it; returns the index of the first byte that differs, -1: it was written."""
    operation = Operation.COMPARE_AND_WRITE
    whole = Request(operation, offset, len(data), memoryview(data), expected=memoryview(expected))
    try:
        for request in (whole,) if operation in store.asynchronous else whole.steps():
            if request.operation in store.asynchronous:
                ask(store, request)
            else:
                request.perform(store)
    except MiscompareError as error:
        return error.index
    return -1


async def _outcome(result: Awaitable[Any]) -> Any:
    return await result


def read(store: Backstore, offset: int, length: int) -> bytes:
    """Read a range; the buffer holds other bytes before, so that what is not filled is found out."""
    buffer = bytearray(b"\xa5" * length)
    call(store, "read_into", offset, memoryview(buffer))
    return bytes(buffer)
