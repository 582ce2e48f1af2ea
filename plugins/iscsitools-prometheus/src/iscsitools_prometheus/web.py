"""The HTTP server of ``/metrics``: a few threads, and nobody who holds one for long."""

from __future__ import annotations

import logging
import re
import socket
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple

from iscsitools.lifecycle import ServerGone

log = logging.getLogger(__name__)

_SECONDS: Final = 10.0
"""How long one who connected may take for each piece of a request, and of taking the answer."""
_AT_ONCE: Final = 8

Address = tuple[str, int]


class Page(NamedTuple):
    """An answer; ``pieces`` of its body are made as they are asked for."""

    content_type: str
    pieces: Iterable[bytes]


def address_of(text: str) -> Address:
    """Read ``ADDRESS:PORT`` or ``[IPV6]:PORT``; raises ValueError."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\[\]:]+)):(\d{1,5})", text)
    if match is None or int(match[3]) > 65535:
        raise ValueError(f"listen is {text!r}, and has to be ADDRESS:PORT or [IPV6]:PORT")
    return match[1] or match[2], int(match[3])


def takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding has gzip (RFC 9110 12.5.3)."""
    for part in accepted.split(","):
        coding, *parameters = (item.strip().lower() for item in part.split(";"))
        if coding == "gzip":
            return not any(re.fullmatch(r"q=0(\.0*)?", parameter) for parameter in parameters)
    return False


def gzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same, packed as it comes: labels repeat in each line, a fiftieth is left. zlib needs no interpreter."""
    packer = zlib.compressobj(level=1, wbits=31)  # with the header and the end of gzip
    for piece in pieces:
        if packed := packer.compress(piece):
            yield packed
    yield packer.flush()


class Web(ThreadingHTTPServer):
    """Listens from the beginning, and answers once started. Raises ValueError when the address cannot be had."""

    daemon_threads = True

    def __init__(self, address: Address, page: Callable[[str], Page]) -> None:
        self.page = page
        self._free = threading.BoundedSemaphore(_AT_ONCE)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), name="metrics", daemon=True)
        shown = f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"
        try:
            self.address_family, *_, (host, *_) = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
            super().__init__((str(host), address[1]), _Handler)
        except (OSError, UnicodeError) as error:
            raise ValueError(f"listen {shown}: {getattr(error, 'strerror', None) or error}") from None

    @property
    def address(self) -> str:
        """Where it listens: ``127.0.0.1:9860``."""
        host, port = self.server_address[:2]
        return f"[{host!s}]:{port}" if ":" in str(host) else f"{host!s}:{port}"

    def start(self) -> None:
        """Answer from now on, in threads of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Listen no more."""
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take it if a thread is left; scrapers try again."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Give the thread back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """One who goes away in the middle is no news."""
        log.debug("a scrape failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _SECONDS
    server: Web

    def do_GET(self) -> None:
        """Answer."""
        if self.path.partition("?")[0] != "/metrics":
            self._answer(404, Page("text/plain; charset=utf-8", (b"the metrics are at /metrics\n",)))
            return
        try:
            page = self.server.page(self.headers.get("Accept") or "")
        except ServerGone as error:
            self._answer(503, Page("text/plain; charset=utf-8", (f"{error}\n".encode(),)))
        else:
            self._answer(200, page)

    def _answer(self, status: int, page: Page) -> None:
        packed = takes_gzip(self.headers.get("Accept-Encoding") or "")
        body = [piece for piece in (gzipped(page.pieces) if packed else page.pieces) if piece]
        self.send_response(status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Vary", "Accept, Accept-Encoding")
        if packed:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(sum(map(len, body))))
        self.end_headers()
        for piece in body:
            self.wfile.write(piece)

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are no news."""
