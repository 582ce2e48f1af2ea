"""A real HTTP server for the tests, with range requests and the faults that servers have."""

from __future__ import annotations

import os
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

KIB = 1024
CONTENT = os.urandom(1000 * KIB + 512)
"""Of the image."""
FAST = "backoff=1ms,timeout=5s,fetch_size=64K,read_ahead=0"
"""Options of a store that tests need not wait for."""


class ImageServer(ThreadingHTTPServer):
    """Serves ``content`` at ``/image``. ``faults`` is a list of what to do wrong, one for each request that comes."""

    daemon_threads = True

    def __init__(self, content: bytes, certificate: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.etag: str | None = '"v1"'
        self.modified: str | None = "Mon, 02 Nov 2026 10:00:00 GMT"
        self.ranges = True
        self.faults: list[str | int] = []
        self.redirects: dict[str, str] = {}
        self.needs: dict[str, str] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.connections: set[tuple[str, int]] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.lock = threading.Lock()
        self.scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
            self.scheme = "https"
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/image"

    @property
    def asked(self) -> list[str]:
        """The ranges asked for, since the last call."""
        with self.lock:
            found = [headers.get("Range", "") for _, _, headers in self.requests]
            self.requests.clear()
        return found

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are part of the tests."""

    def stop(self) -> None:
        self.gate.set()
        self.shutdown()
        self.server_close()
        self.thread.join()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ImageServer

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        with server.lock:
            server.requests.append((self.command, self.path, dict(self.headers)))
            server.connections.add(self.client_address)
            fault = server.faults.pop(0) if server.faults else ""
        server.gate.wait(10)
        if self.path in server.redirects:
            self.answer(302, b"", {"Location": server.redirects[self.path]})
        elif any(self.headers.get(name) != value for name, value in server.needs.items()):
            self.answer(401, b"who are you", {})
        elif self.path != "/image":
            self.answer(404, b"no such thing", {})
        elif isinstance(fault, int):
            self.answer(fault, b"sorry", {})
        elif fault == "close":
            self.close_connection = True
        else:
            self.image(fault)

    def image(self, fault: str) -> None:
        server = self.server
        content = server.content
        headers = {"ETag": server.etag, "Last-Modified": server.modified}
        condition = self.headers.get("If-Range")
        wanted = self.headers.get("Range")
        if not wanted or not server.ranges or (condition and condition not in (server.etag, server.modified)):
            self.answer(200, content, headers)
            return
        first, last = (int(n) for n in wanted.removeprefix("bytes=").split("-"))
        if first >= len(content):
            self.answer(416, b"", headers)
            return
        body = content[first : last + 1]
        last = first + len(body) - 1
        total = len(content)
        if fault == "shifted":
            first += 1
        headers["Content-Range"] = f"bytes {first}-{last}/{total}"
        if fault == "no range header":
            del headers["Content-Range"]
        self.answer(206, body, headers, truncate=fault == "truncate", garbage=fault == "garbage")

    def answer(
        self, status: int, body: bytes, headers: dict[str, str | None], truncate: bool = False, garbage: bool = False
    ) -> None:
        if garbage:
            self.wfile.write(b"what is this\r\n\r\n")
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if truncate:
            body = body[: len(body) // 2]
            self.close_connection = True
        self.wfile.write(body)
