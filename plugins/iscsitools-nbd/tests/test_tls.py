"""TLS with certificates on both sides: nbdkit shows one, and lets in only who has one of the same authority."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from iscsitools.backstores.base import BackstoreError
from iscsitools.testing.serving import serve
from nbd_server import needs

from iscsitools_nbd.backstore import NbdBackstore

_ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)  # sd_listen_fds(3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


class Authority:
    """It signs certificates; a folder has those of one party, as gnutls and libnbd look for them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.key, self.certificate = folder / "authority.key", folder / "authority.pem"
        folder.mkdir()
        self._openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=test authority", "-addext", "keyUsage=critical,keyCertSign",
            "-keyout", self.key, "-out", self.certificate,
        )  # fmt: skip

    def _openssl(self, *words: str | Path) -> None:
        done = subprocess.run(
            [needs("openssl", "openssl"), *map(str, words)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def folder_for(self, party: str, name: str = "127.0.0.1") -> Path:
        """``party`` is "server" or "client"; ``name`` the address that a server's certificate is for."""
        folder = self._folder / f"{party}-{name}"
        folder.mkdir()
        request, names = folder / "request", folder / "names"
        names.write_text(f"subjectAltName=IP:{name}\n")
        self._openssl(
            "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={party}",
            "-keyout", folder / f"{party}-key.pem", "-out", request,
        )  # fmt: skip
        self._openssl(
            "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial",
            "-days", "2", "-extfile", names, "-out", folder / f"{party}-cert.pem",
        )  # fmt: skip
        (folder / "ca-cert.pem").write_bytes(self.certificate.read_bytes())
        return folder


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ours")


@contextmanager
def nbdkit_with(certificates: Path) -> Iterator[int]:
    """A port of 127.0.0.1 where nbdkit wants TLS, and a certificate of its visitors."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        words = ("--foreground", "--tls=require", f"--tls-certificates={certificates}", "--tls-verify-peer")
        command = [sys.executable, "-c", _ACTIVATE, str(listener.fileno()), needs("nbdkit", "nbdkit"), *words]
        process = subprocess.Popen(
            [*command, "memory", "1M"],
            pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield listener.getsockname()[1]
        finally:
            process.kill()
            process.wait()


def uri(port: int, certificates: Path | None, scheme: str = "nbds") -> str:
    return f"{scheme}://127.0.0.1:{port}/" + (f"?tls-certificates={certificates}" if certificates else "")


def refused(text: str) -> str:
    with pytest.raises(BackstoreError, match=r"^nbd: [^\n]*$") as caught:
        NbdBackstore(text, timeout=5.0).open()
    return str(caught.value)


def test_who_has_a_certificate_of_the_same_authority_is_let_in(authority: Authority) -> None:
    mine = authority.folder_for("client")
    with (
        nbdkit_with(authority.folder_for("server")) as port,
        serve(f"nbd:{uri(port, mine)}") as target,
        target.connect() as session,
    ):
        session.write(3, b"t" * 512)
        assert session.read(3, 1) == b"t" * 512
        assert str(mine) not in NbdBackstore(uri(port, mine)).identity


def test_who_is_not_believed_is_not_let_in(authority: Authority, tmp_path: Path) -> None:
    mine, stranger = authority.folder_for("client"), Authority(tmp_path / "others").folder_for("client")
    with nbdkit_with(authority.folder_for("server")) as port:
        assert refused(uri(port, stranger))
        assert "TLS" in refused(uri(port, None, "nbd")).upper()  # no TLS at all
        store = NbdBackstore(uri(port, mine), timeout=30.0)
        store.open()  # and it was none of the server's that it was not
        store.close()


def test_a_server_that_is_another_is_not_believed(authority: Authority) -> None:
    mine = authority.folder_for("client")
    with nbdkit_with(authority.folder_for("server", "192.0.2.7")) as port:
        assert "certificate" in refused(uri(port, mine)).lower()
