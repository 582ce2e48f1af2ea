"""Ranges of one image over kept-alive connections, one per thread: retries, redirects, and whether it has changed.

Whether a failure is worth another try is decided in one place, :meth:`Image.fetch`: :class:`Passing` is, OSError not.
Nothing else comes out of here, whatever a server answers.
"""

from __future__ import annotations

import contextlib
import email.utils
import errno
import http.client
import re
import ssl
import threading
from dataclasses import dataclass
from typing import Final

from iscsitools.backstores.values import MAX_SIZE

from iscsitools_http.connection import Connection
from iscsitools_http.url import Location

# No number of more digits than 2**64 has: Python refuses to read some of those.
_CONTENT_RANGE = re.compile(r"bytes (\d{1,20})-(\d{1,20})/(\d{1,20})", re.ASCII)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_MAX_REDIRECTS = 5
_LONGEST_WAIT = 10.0
_BROKEN: Final = (http.client.HTTPException, OSError, ValueError, OverflowError)
"""What the standard library raises at answers that are none: ValueError for a host name or the size of a chunk."""


class Passing(Exception):
    """A failure that may have passed at the next try."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to ask: seconds for ``timeout`` and ``backoff``; ``headers`` go to the first URL's origin only.

    ``timeout`` is for one request: from connecting to the last byte of the answer.
    """

    timeout: float
    retries: int
    backoff: float
    headers: dict[str, str]
    ca: str


class _Link(threading.local):
    """A thread's connection, and where it leads."""

    connection: Connection | None = None
    origin: tuple[str, str, int] | None = None
    used: bool = False


class Image:
    """An image on a server. ``open`` learns its size and what identifies its version."""

    def __init__(self, location: Location, settings: Settings) -> None:
        self.size = 0
        self._start = self._current = location
        self._settings = settings
        self._link = _Link()
        self._links: list[Connection] = []
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._context: ssl.SSLContext | None = None
        self._etag = ""
        self._modified = ""
        self._changed = ""

    def open(self) -> None:
        """Ask for the first byte; raises OSError with a line for the user."""
        self._context = ssl.create_default_context(cafile=self._settings.ca or None)
        self.fetch(0, 1)

    def close(self) -> None:
        """Close all connections and end waiting between tries."""
        self._stopped.set()
        with self._lock:
            for connection in self._links:
                connection.close()
            self._links.clear()

    @property
    def changed(self) -> bool:
        """Whether another version than the one that was opened has been seen."""
        return bool(self._changed)

    def check(self) -> None:
        """Raise OSError if another version has been seen."""
        if self._changed:
            raise OSError(errno.EIO, self._changed)

    def fetch(self, offset: int, length: int) -> bytes:
        """The bytes of a range, tried again after passing failures; raises OSError when that does not help."""
        wait = self._settings.backoff
        tries = self._settings.retries
        while True:
            self.check()
            kept_alive = self._link.used
            try:
                return self._fetch_once(offset, length)
            except Passing as error:
                self._drop()
                if kept_alive:  # the server may have closed it while it was idle: that counts for nothing
                    continue
                if tries == 0:
                    raise OSError(errno.EIO, f"{self._start.text}: {error}") from error
            except OSError:
                self._drop()
                raise
            tries -= 1
            if self._stopped.wait(wait):
                raise OSError(errno.EIO, f"{self._start.text}: closed")
            wait = min(wait * 2, _LONGEST_WAIT)

    def _fetch_once(self, offset: int, length: int) -> bytes:
        for _ in range(_MAX_REDIRECTS + 1):
            # Closed whatever happens: a response that ends with its connection belongs to nobody else.
            with contextlib.closing(self._request(self._current, offset, length)) as response:
                if response.status not in _REDIRECTS:
                    return self._body(response, offset, length)
                reference = response.getheader("Location") or ""
            self._drop()
            try:
                self._current = self._current.follow(reference)
            except ValueError as error:
                raise OSError(errno.EIO, str(error)) from None
        raise OSError(errno.EIO, f"{self._start.text}: more than {_MAX_REDIRECTS} redirects")

    def _body(self, response: http.client.HTTPResponse, offset: int, length: int) -> bytes:
        self._check_status(response, offset, length)
        try:
            body = response.read(length + 1)  # no more, whatever the server sends
        except _BROKEN as error:
            raise Passing(f"the answer broke off: {_one_line(error)}") from error
        if len(body) != length:
            raise Passing(f"{len(body)} bytes came, {length} were asked for")
        self._link.used = True
        return body

    def _request(self, location: Location, offset: int, length: int) -> http.client.HTTPResponse:
        headers = {"Range": f"bytes={offset}-{offset + length - 1}", "Accept-Encoding": "identity"}
        if location.origin == self._start.origin:
            headers |= self._settings.headers
        if self._etag and not self._etag.startswith("W/"):  # RFC 9110 13.1.5: a weak one cannot be used
            headers["If-Range"] = self._etag
        elif self._modified:
            headers["If-Range"] = self._modified
        try:
            connection = self._connect(location)
            connection.request("GET", location.target, headers=headers)
            return connection.getresponse()
        except ssl.SSLCertVerificationError as error:
            raise OSError(errno.EIO, f"{location.text}: its certificate: {error.verify_message}") from error
        except _BROKEN as error:
            raise Passing(f"{type(error).__name__}: {_one_line(error)}") from error

    def _connect(self, location: Location) -> Connection:
        link = self._link
        if link.connection is None or link.origin != location.origin:
            self._drop()
            connection = Connection(location.host, location.port, self._context if location.scheme == "https" else None)
            with self._lock:
                self._links.append(connection)
            link.connection, link.origin = connection, location.origin
        link.connection.allow(self._settings.timeout)
        return link.connection

    def _drop(self) -> None:
        link = self._link
        if link.connection is not None:
            link.connection.close()
            with self._lock:
                if link.connection in self._links:
                    self._links.remove(link.connection)
        link.connection, link.origin, link.used = None, None, False

    def _check_status(self, response: http.client.HTTPResponse, offset: int, length: int) -> None:
        status = response.status
        if status in _PASSING:
            raise Passing(f"the server answered {status} {response.reason}")
        if status in (401, 403, 404, 410) and self._current != self._start:
            self._current = self._start  # where a redirect led may be valid for a time only
            raise Passing(f"the server answered {status} {response.reason} behind a redirect")
        if status == 200 and self.size:
            self._set_changed()
        if status == 200:
            raise OSError(errno.EIO, f"{self._start.text}: the server has no range requests, and this needs them")
        if status == 416 and self.size:
            self._set_changed()
        if status == 416:
            raise OSError(errno.EIO, f"{self._start.text} is empty")
        if status != 206:
            raise OSError(errno.EIO, f"{self._start.text}: the server answered {status} {response.reason}")
        match = _CONTENT_RANGE.fullmatch(response.getheader("Content-Range") or "")
        if match is None or (int(match[1]), int(match[2])) != (offset, offset + length - 1):
            raise OSError(errno.EIO, f"{self._start.text}: the server answered with another range than asked for")
        size = int(match[3])
        if not 0 < size <= MAX_SIZE:
            raise OSError(errno.EIO, f"{self._start.text}: the server says that it has {size} bytes, which no disk has")
        self._check_version(response, size)

    def _check_version(self, response: http.client.HTTPResponse, size: int) -> None:
        etag, modified = response.getheader("ETag") or "", response.getheader("Last-Modified") or ""
        if not self.size:
            if email.utils.parsedate_tz(modified) is None:
                modified = ""
            self.size, self._etag, self._modified = size, etag, modified
        elif size != self.size or etag != self._etag or (not etag and self._modified and modified != self._modified):
            self._set_changed()

    def _set_changed(self) -> None:
        self._changed = f"{self._start.text} has changed on the server since it was opened"
        self.check()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
