"""What iscsitools.testing asks of every backstore."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from http_server import ImageServer
from iscsitools.testing.model import check_model
from iscsitools.testing.serving import serve

from iscsitools_http.backstore import HttpBackstore

CONTENT = os.urandom(512 << 10)


@pytest.fixture
def server() -> Iterator[ImageServer]:
    server = ImageServer(CONTENT)
    yield server
    server.stop()


@pytest.mark.parametrize("seed", range(2))
def test_the_model(server: ImageServer, seed: int) -> None:
    def make() -> HttpBackstore:
        options = {option.name: option.default for option in HttpBackstore.options}
        return HttpBackstore(server.url, **options)

    check_model(make, seed)


def test_an_initiator_reads_the_image_and_cannot_change_it(server: ImageServer) -> None:
    with serve(f"http:{server.url}") as served, served.connect() as session:
        for lba in (0, 7, 1000):
            assert session.read(lba, 16) == CONTENT[lba * 512 : lba * 512 + 8192]
        assert session.command(b"\x2a" + bytes(7) + b"\1\0", write=bytes(512)).sense_code == (7, 0x27, 0)
