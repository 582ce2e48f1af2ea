"""Fixtures for pytest: ``from iscsitools.testing.fixtures import served`` in a ``conftest.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import ModuleType

import pytest

from iscsitools.initiator import Session
from iscsitools.testing.serving import serve


@pytest.fixture
def served() -> Iterator[Callable[..., Session]]:
    """``served(SPEC...)``: serve disks until the test ends, and return an initiator that has logged in to them."""
    with ExitStack() as stack:

        def start(*specs: str, plugins: tuple[ModuleType, ...] = ()) -> Session:
            return stack.enter_context(stack.enter_context(serve(*specs, plugins=plugins)).connect())

        yield start
