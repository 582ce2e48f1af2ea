"""An HTTP server with an image, and stores that are opened on it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from iscsitools.backstores.base import Backstore
from iscsitools.backstores.spec import build, parse_spec
from iscsitools.plugins import PluginManager

sys.path.insert(0, str(Path(__file__).parent))  # for http_server, however pytest imports tests

from http_server import CONTENT, FAST, ImageServer


@pytest.fixture(scope="session")
def manager() -> PluginManager:
    manager = PluginManager()
    manager.load()
    return manager


@pytest.fixture
def server() -> Iterator[ImageServer]:
    server = ImageServer(CONTENT)
    yield server
    server.stop()


@pytest.fixture
def opened(manager: PluginManager) -> Iterator[Callable[..., Backstore]]:
    stores: list[Backstore] = []

    def open_url(url: str, options: str = FAST) -> Backstore:
        store = build(parse_spec(f"http:{url},{options}"), manager.registry)
        store.open()
        stores.append(store)
        return store

    yield open_url
    for store in stores:
        store.close()
