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
