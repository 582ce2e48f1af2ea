"""Who may read an image, and by which address: redirects, credentials, certificates; and what cannot be opened."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from http_server import CONTENT, FAST, KIB, ImageServer
from iscsitools.backstores.base import Backstore, BackstoreError
from iscsitools.backstores.spec import build, parse_spec
from iscsitools.plugins import PluginManager
from iscsitools.testing.store_calls import read

Opened = Callable[..., Backstore]


def test_redirects_are_followed_and_asked_again_when_they_end(server: ImageServer, opened: Opened) -> None:
    server.redirects = {"/a": "/b", "/b": server.url}
    store = opened(server.url.replace("/image", "/a"))
    read(store, 0, 512)
    assert [path for _, path, _ in server.requests] == ["/a", "/b", "/image", "/image"]
    store._image._current = store._image._start.follow("/gone")  # type: ignore[attr-defined]
    assert read(store, 512 * KIB, 512) == CONTENT[512 * KIB :][:512]


def test_credentials_go_to_their_own_server_only(server: ImageServer, opened: Opened) -> None:
    other = ImageServer(CONTENT)
    try:
        server.needs = {"Authorization": "Basic bWU6YTpiQGM="}
        url = server.url.replace("//", "//me:a%3Ab%40c@")
        store = opened(url)
        assert "bWU6" in server.requests[0][2]["Authorization"]
        assert "me" not in store.identity.partition("//")[2]
        server.redirects = {"/away": other.url}
        read(opened(url.replace("/image", "/away")), 0, 512)
        assert all("Authorization" not in headers for _, _, headers in other.requests)
    finally:
        other.stop()


def test_a_header_of_ones_own_is_sent(server: ImageServer, opened: Opened) -> None:
    server.needs = {"Authorization": "Bearer x,y"}
    opened(server.url, FAST + r",header=Authorization: Bearer x\,y")


@pytest.mark.parametrize(
    ("setup", "path", "options", "complaint"),
    [
        ({"ranges": False}, "/image", FAST, "no range requests"),
        ({}, "/other", FAST, "the server answered 404"),
        ({"needs": {"Authorization": "x"}}, "/image", FAST, "the server answered 401"),
        ({"content": b""}, "/image", FAST, "is empty"),
        ({"redirects": {"/r": "/r"}}, "/r", FAST, "more than 5 redirects"),
        ({"redirects": {"/r": "ftp://x/"}}, "/r", FAST, "no http:// or https:// URL"),
        ({"faults": [500] * 9}, "/image", FAST + ",retries=1", "answered 500"),
        ({}, "/image", "fetch_size=0", "not more than 0"),
        ({}, "/image", "timeout=0", "timeout has to be more than 0"),
        ({}, "/image", "header=nothing", "NAME: VALUE"),
        ({}, "/image", "ca=/no/such/file", "No such file"),
    ],
)
def test_what_cannot_be_opened_is_said_in_one_line(
    server: ImageServer, opened: Opened, setup: dict[str, object], path: str, options: str, complaint: str
) -> None:
    for name, value in setup.items():
        setattr(server, name, value)
    with pytest.raises(BackstoreError) as caught:
        opened(server.url.replace("/image", path), options)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://h/x", "disk.img", "http://", "http://h:99999/x", "http://h/a b", "http://h/ä"])
def test_what_is_no_url(manager: PluginManager, url: str) -> None:
    with pytest.raises(BackstoreError, match=r"no http:// or https:// URL|no valid port|writes with %"):
        build(parse_spec(f"http:{url}"), manager.registry)


def test_a_wrong_url_does_not_show_the_password(manager: PluginManager) -> None:
    with pytest.raises(BackstoreError) as caught:
        build(parse_spec("http:http://me:secret@h:99999/x"), manager.registry)
    assert "secret" not in str(caught.value)


def test_nobody_listens(server: ImageServer, opened: Opened) -> None:
    server.stop()
    with pytest.raises(BackstoreError, match="refused"):
        opened(server.url, "retries=1,backoff=1ms")
    server.__init__(CONTENT)  # type: ignore[misc]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    pem = tmp_path / "server.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", pem, "-out", tmp_path / "ca.pem",
         "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    with pem.open("a") as file:
        file.write((tmp_path / "ca.pem").read_text())
    return pem


def test_https_checks_the_certificate(certificate: Path, server: ImageServer, opened: Opened) -> None:
    secure = ImageServer(CONTENT, certificate)
    try:
        with pytest.raises(BackstoreError, match="its certificate"):
            opened(secure.url)
        store = opened(secure.url, f"{FAST},ca={certificate.parent}/ca.pem")
        assert read(store, 4096, 8192) == CONTENT[4096 : 4096 + 8192]
        secure.redirects = {"/down": server.url}
        with pytest.raises(BackstoreError, match="redirects from https to"):
            opened(secure.url.replace("/image", "/down"), f"{FAST},ca={certificate.parent}/ca.pem")
    finally:
        secure.stop()
