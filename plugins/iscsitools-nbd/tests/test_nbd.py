"""An initiator's view of disks behind real NBD servers."""

from __future__ import annotations

import contextlib
import lzma
import os
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from iscsitools.backstores.base import BackstoreError
from iscsitools.testing.model import check_model
from iscsitools.testing.serving import serve
from nbd_server import nbdkit, needs, qemu_nbd

from iscsitools_nbd.backstore import NbdBackstore

MIB = 1 << 20


def qemu_img(*arguments: str | Path) -> None:
    subprocess.run([needs("qemu-img", "qemu-utils"), *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("seed", range(3))
def test_the_model_over_nbdkit(tmp_path: Path, seed: int) -> None:
    with nbdkit(tmp_path, "memory", "1M") as server:
        check_model(lambda: NbdBackstore(server.uri), seed)


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_the_model_over_qemu_nbd_and_over_restarts(tmp_path: Path, kind: str) -> None:
    image = tmp_path / "image"
    qemu_img("create", "-q", "-f", kind, image, "1M")
    with qemu_nbd(tmp_path, image, kind, "--discard=unmap") as server:
        check_model(lambda: NbdBackstore(server.uri), seed=1, persistent=True)


def test_the_model_over_a_server_that_can_do_nothing_but_read_and_write(tmp_path: Path) -> None:
    options = ("--filter=nozero", "--filter=noextents", "--filter=fua", "--filter=multi-conn")
    with nbdkit(tmp_path, "memory", "1M", "zeromode=none", "multi-conn-mode=disable", options=options) as server:
        check_model(lambda: NbdBackstore(server.uri), seed=2)


@pytest.mark.parametrize("kind", ["qcow2", "vmdk", "vhdx", "vdi"])
def test_images_of_other_formats_read_as_what_they_were_made_of(tmp_path: Path, kind: str) -> None:
    content = os.urandom(MIB) + bytes(MIB) + os.urandom(MIB)
    (tmp_path / "raw").write_bytes(content)
    qemu_img("convert", "-O", kind, tmp_path / "raw", tmp_path / "image")
    with (
        qemu_nbd(tmp_path, tmp_path / "image", kind) as server,
        serve(f"nbd:{server.uri}") as served,
        served.connect() as session,
    ):
        assert b"".join(session.read(lba, 1024) for lba in range(0, len(content) // 512, 1024)) == content


def test_a_chain_of_images_is_one_disk_and_its_base_stays_as_it_was(tmp_path: Path) -> None:
    base = os.urandom(MIB)
    (tmp_path / "raw").write_bytes(base)
    qemu_img("convert", "-O", "qcow2", tmp_path / "raw", tmp_path / "base")
    qemu_img("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", tmp_path / "base", tmp_path / "top")
    with (
        qemu_nbd(tmp_path, tmp_path / "top", "qcow2") as server,
        serve(f"nbd:{server.uri}") as served,
        served.connect() as session,
    ):
        session.write(8, b"n" * 4096)
        assert session.read(0, 24) == base[:4096] + b"n" * 4096 + base[8192 : 24 * 512]
    qemu_img("convert", "-O", "raw", tmp_path / "base", tmp_path / "after")
    assert (tmp_path / "after").read_bytes() == base


def test_a_compressed_image_is_read_and_not_written(tmp_path: Path) -> None:
    content = os.urandom(4096) + bytes(MIB - 4096)
    (tmp_path / "image").write_bytes(content)
    subprocess.run([needs("xz", "xz-utils"), str(tmp_path / "image")], check=True)
    with (
        nbdkit(tmp_path, "file", str(tmp_path / "image.xz"), options=("--filter=xz",)) as server,
        serve(f"nbd:{server.uri}") as served,
        served.connect() as session,
    ):
        assert session.read(0, 2048) == content
        assert session.command(b"\x2a" + bytes(7) + b"\1\0", write=bytes(512)).sense_code == (7, 0x27, 0)


class Ranges(BaseHTTPRequestHandler):
    """A file behind HTTP, as a server of images has it."""

    content = b""
    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()

    def do_GET(self) -> None:
        self.asked.append(self.headers["Range"])
        first, last = (int(number) for number in self.headers["Range"].removeprefix("bytes=").split("-"))
        part = self.content[first : last + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(self.content)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, format: str, *args: object) -> None:
        """It has nothing to say to a terminal."""


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "xz"])
def test_a_file_of_another_machine_is_a_disk(tmp_path: Path, packed: bool) -> None:
    content = os.urandom(256 << 10) + bytes(256 << 10)
    handler = type("Handler", (Ranges,), {"content": lzma.compress(content) if packed else content, "asked": []})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=http.serve_forever).start()
    try:
        url = f"url=http://127.0.0.1:{http.server_port}/image"
        options = ("--filter=xz",) if packed else ()
        with (
            nbdkit(tmp_path, "curl", url, options=("--readonly", *options)) as server,
            serve(f"nbd:{server.uri}") as served,
            served.connect() as session,
        ):
            assert session.read(0, 1024) == content
            assert session.command(b"\x2a" + bytes(7) + b"\1\0", write=bytes(512)).sense_code == (7, 0x27, 0)
            assert handler.asked
    finally:
        http.shutdown()
        http.server_close()


@pytest.mark.parametrize(("wanted", "allowed", "used"), [(3, True, 3), (1, True, 1), (3, False, 1)])
def test_as_many_connections_as_were_asked_for_and_the_server_allows(
    tmp_path: Path, wanted: int, allowed: bool, used: int
) -> None:
    log = tmp_path / "log"
    filters = ("--filter=log", "--filter=delay", *(() if allowed else ("--filter=multi-conn",)))
    more = () if allowed else ("multi-conn-mode=disable",)
    with (
        nbdkit(tmp_path, "memory", "1M", f"logfile={log}", "rdelay=20ms", *more, options=filters) as server,
        serve(f"nbd:{server.uri},connections={wanted}") as served,
        served.connect() as session,
    ):
        tasks = [
            session.start_command(b"\x28" + bytes(4) + bytes([n]) + bytes(2) + b"\1\0", read=512) for n in range(24)
        ]
        assert all(session.wait(task).good for task in tasks)
        by = {line.split(" connection=")[1].split()[0] for line in log.read_text().splitlines() if " Read id=" in line}
        assert len(by) == used


def test_keys_are_asked_for_and_hidden(tmp_path: Path) -> None:
    key = tmp_path / "keys.psk"
    key.write_text("alice:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n")
    stack = contextlib.ExitStack()
    options = ("--tls=require", f"--tls-psk={key}")
    uri = "nbds+unix://alice@/?socket={socket}&tls-psk-file=" + str(key)
    with nbdkit(tmp_path, "memory", "1M", options=options, uri=uri) as server:
        session = stack.enter_context(stack.enter_context(serve(f"nbd:{server.uri}")).connect())
        session.write(3, b"t" * 512)
        assert session.read(3, 1) == b"t" * 512
        stack.close()
        assert "alice" not in NbdBackstore(server.uri).identity
        assert str(key) not in NbdBackstore(server.uri).identity
        plain = server.uri.replace("nbds", "nbd")
        with pytest.raises(BackstoreError, match=r"^nbd: .*[Tt][Ll][Ss]"):
            NbdBackstore(plain, timeout=5.0).open()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("disk.img", "it has to begin with nbd://, nbds:// or nbd\\+unix://"),
        ("nbd:///export", "there is no host in it"),
        ("nbd+unix:///export", r"needs \?socket=PATH"),
        ("nbd://[::1/x", "is no NBD URI"),
        ("nbd://host:0/x", "there is no port 0"),
        ("nbd://host:port/x", "is no NBD URI"),
    ],
)
def test_a_text_that_is_no_uri_says_why(text: str, reason: str) -> None:
    with pytest.raises(BackstoreError, match=reason):
        NbdBackstore(text)


def test_no_server_and_no_export_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(BackstoreError, match=r"^nbd: nbd\+unix:///\?socket=\S+: [^\n]*No such file"):
        NbdBackstore(f"nbd+unix:///?socket={tmp_path}/none", timeout=5.0).open()
    (tmp_path / "disk").write_bytes(bytes(MIB))
    qemu_nbd_server = qemu_nbd(tmp_path, tmp_path / "disk", "raw", "--export-name=there")
    with qemu_nbd_server as server, pytest.raises(BackstoreError, match=r"^nbd: nbd\+unix://"):
        NbdBackstore(server.uri.replace("///", "///elsewhere"), timeout=5.0).open()
    assert shutil.which("nbdkit")


def test_a_server_that_says_nothing_is_given_up_at_the_start(tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "mute"))
        listener.listen()
        with pytest.raises(BackstoreError, match="no answer"):
            NbdBackstore(f"nbd+unix:///?socket={tmp_path}/mute", timeout=0.3).open()
