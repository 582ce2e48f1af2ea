"""Servers that answer nonsense, at once or later: one error of the plugin's own, in one line, and in time."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from iscsitools.backstores.base import BackstoreError

from iscsitools_http.backstore import HttpBackstore

SIZE = 1 << 20
Range = tuple[int, int]
Answer = Callable[[Range], bytes]


def partial(wanted: Range, *headers: str, size: object = SIZE) -> str:
    first, last = wanted
    lines = ["HTTP/1.1 206 Partial Content", f"Content-Range: bytes {first}-{last}/{size}", *headers]
    return "\r\n".join(lines) + "\r\n\r\n"


def good(wanted: Range) -> bytes:
    length = wanted[1] - wanted[0] + 1
    return partial(wanted, f"Content-Length: {length}").encode() + bytes(length)


def sized(size: object) -> Answer:
    return lambda wanted: partial(wanted, "Content-Length: 1", size=size).encode() + b"x"


def chunked(line: str) -> Answer:
    return lambda wanted: (
        partial(wanted, "Transfer-Encoding: chunked").encode() + f"{line}\r\nabc\r\n0\r\n\r\n".encode()
    )


def redirect(location: str) -> Answer:
    return lambda _: f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode("latin-1")


NONSENSE: dict[str, Answer] = {
    "size of 5000 digits": sized("9" * 5000),
    "size 10**40": sized(10**40),
    "size 2**63": sized(1 << 63),
    "size 0": sized(0),
    "a size that is no ASCII": sized("\u0663"),
    "start of 5000 digits": lambda _: partial((0, 0)).replace("bytes 0", "bytes " + "0" * 5000).encode() + b"x",
    "empty label": redirect("http://a..b/"),
    "long label": redirect(f"http://{'a' * 70}.b/"),
    "dots": redirect("http://.../"),
    "bad port": redirect("http://127.0.0.1:99999/"),
    "bracket": redirect("http://[::1/"),
    "no ASCII": redirect("/\xe9"),
    "file": redirect("file:///etc/passwd"),
    "negative chunk": chunked("-5"),
    "huge chunk": chunked("f" * 21),
    "no chunk": chunked("what"),
    "length of 5000 digits": lambda w: partial(w, f"Content-Length: {'9' * 5000}").encode() + b"abc",
    "status of five digits": lambda _: b"HTTP/1.1 99999 C\r\n\r\n",
    "no status": lambda _: b"HTTP/1.1 abc C\r\n\r\n",
    "many headers": lambda _: b"HTTP/1.1 206 P\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    "a long header": lambda _: b"HTTP/1.1 206 P\r\nX: " + b"y" * 70000 + b"\r\n\r\n",
    "nothing": lambda _: b"",
}


class RawServer:
    """Answers each request with ``answer(number of the request, range)``, byte by byte once ``drip`` is set."""

    def __init__(self, answer: Callable[[int, Range], bytes]) -> None:
        self.answer = answer
        self.requests = 0
        self.drip = threading.Event()
        self.stopped = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/disk.img"

    def stop(self) -> None:
        self.stopped.set()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock = self._listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            data = b""
            while True:
                while b"\r\n\r\n" not in data:
                    if not (received := sock.recv(65536)):
                        return
                    data += received
                head, _, data = data.partition(b"\r\n\r\n")
                wanted = next(line for line in head.split(b"\r\n") if line.startswith(b"Range: bytes="))
                first, last = wanted.removeprefix(b"Range: bytes=").split(b"-")
                self.requests += 1
                answer = self.answer(self.requests, (int(first), int(last)))
                if self.drip.is_set():
                    for byte in answer:
                        sock.sendall(bytes([byte]))
                        if self.stopped.wait(0.01):
                            return
                elif not answer:
                    return
                else:
                    sock.sendall(answer)


@pytest.fixture
def serving() -> Iterator[Callable[[Callable[[int, Range], bytes]], RawServer]]:
    servers: list[RawServer] = []

    def start(answer: Callable[[int, Range], bytes]) -> RawServer:
        servers.append(RawServer(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


Serving = Callable[[Callable[[int, Range], bytes]], RawServer]


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_when_it_is_opened(serving: Serving, name: str) -> None:
    store = HttpBackstore(serving(lambda _, wanted: NONSENSE[name](wanted)).url, timeout=2.0, retries=1, backoff=0.001)
    with pytest.raises(BackstoreError) as caught:
        store.open()
    assert "\n" not in str(caught.value)
    store.close()


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_when_it_is_read(serving: Serving, name: str) -> None:
    server = serving(lambda number, wanted: good(wanted) if number == 1 else NONSENSE[name](wanted))
    store = HttpBackstore(server.url, timeout=2.0, retries=1, backoff=0.001)
    store.open()
    with pytest.raises(OSError, match=r"\[Errno 5\]"):
        store.read_into(0, memoryview(bytearray(4096)))
    store.close()


@pytest.mark.parametrize("length", [1, 4096])
def test_a_server_that_goes_on_for_ever_is_left_at_the_deadline(serving: Serving, length: int) -> None:
    """Each byte comes in time, of the headers or of the body; the whole answer would take ten minutes."""
    head = "HTTP/1.1 206 P\r\nX: " + "a" * 60000 if length == 1 else ""
    server = serving(lambda number, wanted: head.encode() or good(wanted) + bytes(60000))
    if length == 1:
        server.drip.set()
    store = HttpBackstore(server.url, timeout=0.3, retries=1, backoff=0.001, read_ahead=0)
    if length == 1:
        with pytest.raises(BackstoreError, match="timed out"):
            store.open()
        assert server.requests == 2
    else:
        store.open()
        server.drip.set()
        with pytest.raises(OSError, match="timed out"):
            store.read_into(0, memoryview(bytearray(length)))
    store.close()
