"""The module in C, its data threads, and a disk for them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from support.native import needs_data_path

from iscsitools.backstores import shortcut
from iscsitools.backstores.ram import RamBackstore
from iscsitools.server import data_threads

from .bench import SIZE


@pytest.fixture
def module() -> Iterator[ModuleType]:
    found = sys.modules[needs_data_path().__module__]
    shortcut.share(found.settle, 2)
    yield found
    shortcut.share(None)


@pytest.fixture
def threads(module: ModuleType) -> Iterator[list[Any]]:
    made = [module.DataThread() for _ in range(2)]
    yield made
    for thread in made:
        thread.end()


@pytest.fixture
def ram() -> Iterator[RamBackstore]:
    made = RamBackstore(str(SIZE))
    made.write(0, memoryview(bytes(SIZE)))
    yield made
    made.close()


@pytest.fixture(params=["loop", "thread"])
def in_thread(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Who serves: the event loop, or a data thread beside it."""
    if request.param == "thread" and sys.platform != "linux":
        pytest.skip("data threads need epoll")
    monkeypatch.setattr(data_threads, "useful", lambda module, memory: 1 + (request.param == "thread"))
    return bool(request.param == "thread")
