"""How the kit calls a backstore: each call by its name in one place, whether it answers at once or later."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from typing import Any

from iscsitools.backstores.base import Backstore


def call(store: Backstore, name: str, *arguments: Any) -> Any:
    """Call a method and return what it returns; when that is awaitable, what comes of it."""
    result = getattr(store, name)(*arguments)
    return asyncio.run(_outcome(result)) if inspect.isawaitable(result) else result


async def _outcome(result: Awaitable[Any]) -> Any:
    return await result


def read(store: Backstore, offset: int, length: int) -> bytes:
    """Read a range; the buffer holds other bytes before, so that what is not filled is found out."""
    buffer = bytearray(b"\xa5" * length)
    call(store, "read_into", offset, memoryview(buffer))
    return bytes(buffer)
