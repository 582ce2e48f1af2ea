"""Where others can connect: HTTPS for browsers with a certificate that was signed, in a TLS client and in Chromium."""

from __future__ import annotations

import http.client
import json
import shutil
import ssl
import subprocess
import urllib.parse
from pathlib import Path

import pytest

from .page_lab import Analytics, Browser, Place, eventually, missing


@pytest.fixture
def keys(place: Place) -> Path:
    """Two authorities, a server's certificate, and a client's of each: ``ca``, ``server``, ``known``, ``stranger``."""
    if shutil.which("openssl") is None:
        missing("openssl is not installed (Debian package openssl)")
    folder = place.folder / "keys"
    folder.mkdir()

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for name in ("ca", "otherca"):
        openssl("req", "-x509", *curve, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}",
                "-addext", "keyUsage=critical,keyCertSign")  # fmt: skip
    for name, signer in (("server", "ca"), ("known", "ca"), ("stranger", "otherca")):
        openssl("req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "extensions").write_text("subjectAltName=IP:127.0.0.1\n")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{signer}.pem", "-CAkey", f"{signer}.key", "-days", "2",
                "-out", f"{name}.pem", "-extfile", "extensions")  # fmt: skip
    return folder


def served(place: Place, *arguments: str) -> Analytics:
    """Beyond loopback; it is asked on loopback, by the name that --host lets in."""
    return place.analytics("--listen", "0.0.0.0:0", "--host", "127.0.0.1", *arguments)


def with_certificates(place: Place, keys: Path) -> Analytics:
    return served(
        place, "--certificate", str(keys / "server.pem"), "--key", str(keys / "server.key"),
        "--clients", str(keys / "ca.pem"),
    )  # fmt: skip


def about(analytics: Analytics, keys: Path, client: str) -> dict[str, object]:
    context = ssl.create_default_context(cafile=str(keys / "ca.pem"))
    if client:
        context.load_cert_chain(keys / f"{client}.pem", keys / f"{client}.key")
    link = http.client.HTTPSConnection("127.0.0.1", analytics.port, timeout=60, context=context)
    try:
        link.request("GET", "/api/about")
        with link.getresponse() as answer:
            assert answer.status == 200
            found: dict[str, object] = json.load(answer)
            return found
    finally:
        link.close()


def test_only_a_client_with_a_certificate_that_was_signed_gets_an_answer(place: Place, keys: Path) -> None:
    analytics = with_certificates(place, keys)
    assert analytics.url.startswith("https://")
    assert about(analytics, keys, "known")["attached"] == []
    for refused in ("", "stranger"):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            about(analytics, keys, refused)
    plain = http.client.HTTPConnection("127.0.0.1", analytics.port, timeout=60)
    plain.request("GET", "/api/about")
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        plain.getresponse()
    plain.close()


def test_a_browser_with_a_certificate_sees_the_page_and_one_without_does_not(
    place: Place, keys: Path, browser: Browser
) -> None:
    analytics = with_certificates(place, keys)
    url = f"https://127.0.0.1:{analytics.port}/"
    with browser.strange_page(url, keys / "known") as tab:
        tab.goto(url + "#g=operations+by:client")
        eventually(
            lambda: tab.evaluate("() => window.page !== undefined && window.page.cards.length === 1"), "the page"
        )
        assert "iscsitools" in tab.title()
    with browser.strange_page(url, None) as tab, pytest.raises(Exception, match="ERR_"):
        tab.goto(url)


def test_a_token_beyond_loopback(place: Place, browser: Browser) -> None:
    analytics = served(place, "--token", "token")
    token = urllib.parse.urlsplit(analytics.where).fragment
    assert analytics.status("/api/about") == 401
    assert analytics.status("/api/about", Host="203.0.113.9") == 421
    with browser.page(f"http://127.0.0.1:{analytics.port}/#{token}") as tab:
        eventually(lambda: tab.evaluate("() => window.page.cards.length > 0"), "the page")
        assert "token" not in tab.url
