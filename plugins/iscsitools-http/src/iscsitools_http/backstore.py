"""The ``http`` backstore: blocks of an image fetched when they are read, and kept."""

from __future__ import annotations

import errno
import threading
from collections.abc import Mapping

from iscsitools.backstores import values
from iscsitools.backstores.base import Backstore, BackstoreError, Capabilities, Option

from iscsitools_http.cache import BlockCache
from iscsitools_http.client import Image, Settings
from iscsitools_http.url import parse_url


class HttpBackstore(Backstore):
    """``http:URL``: a disk that can be read, from an image on a server that has range requests.

    The image is cut into blocks of ``fetch_size``. A read fetches the run of blocks that it misses with one request,
    longer by ``read_ahead`` when it goes on where the last one ended. A block that another thread is fetching is
    waited for and not fetched twice.
    """

    kind = "http"
    summary = "a read-only disk from an image behind an HTTP or HTTPS URL"
    what = "URL"
    options = (
        Option("cache_size", values.size, 64 << 20, "memory for blocks already fetched"),
        Option("fetch_size", values.positive(values.size), 256 << 10, "size of a block: the least that is fetched"),
        Option("read_ahead", values.size, 1 << 20, "how much more is fetched when reads are sequential"),
        Option("timeout", values.duration, 10.0, "how long one request may take, until its last byte"),
        Option("retries", values.integer, 5, "how often a request that failed is tried again"),
        Option("backoff", values.duration, 0.1, "wait before the first new try; doubled for each one after it"),
        Option("header", values.text, "", "a header to send, as Authorization: Bearer ..."),
        Option("ca", values.path, "", "file of certificates to trust instead of the system's"),
    )

    def __init__(self, what: str, **options: object) -> None:
        chosen = {option.name: options.get(option.name, option.default) for option in self.options}
        try:
            location, authorization = parse_url(what)
            headers = _headers(authorization, str(chosen["header"]))
        except ValueError as error:
            raise BackstoreError(f"http: {error}") from None
        self._text = location.text
        self._fetch_size, cache_size, read_ahead, retries = (
            _whole(chosen, name) for name in ("fetch_size", "cache_size", "read_ahead", "retries")
        )
        timeout, backoff = (float(str(chosen[name])) for name in ("timeout", "backoff"))
        if timeout <= 0 or retries < 0:
            raise BackstoreError("http: timeout has to be more than 0, and retries not less")
        self._image = Image(location, Settings(timeout, retries, backoff, headers, str(chosen["ca"])))
        self._ahead = -(-read_ahead // self._fetch_size)
        self._cache = BlockCache(max(cache_size // self._fetch_size, 1 + self._ahead))
        self._fetching: set[int] = set()
        self._next_offset = -1
        self._changed = threading.Condition()

    def open(self) -> None:
        """Ask the server for the image's size and version."""
        try:
            self._image.open()
        except OSError as error:
            self._image.close()
            raise BackstoreError(f"http: {error.strerror or error}") from error

    def close(self) -> None:
        """Close the connections and forget the blocks."""
        self._image.close()
        self._cache.clear()

    @property
    def size(self) -> int:
        """The image's length when it was opened."""
        return self._image.size

    @property
    def capabilities(self) -> Capabilities:
        """Read-only; reads of whole fetched blocks are the best."""
        return Capabilities(read_only=True, optimal_io_size=self._fetch_size)

    @property
    def identity(self) -> str:
        """The URL without user and password."""
        return f"{self.kind}:{self._text}"

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Copy from the blocks, fetching those that are missing."""
        self._image.check()  # what is kept belongs to a version that is no more
        size = self._fetch_size
        wanted = range(offset // size, (offset + len(buffer) - 1) // size + 1)
        blocks: dict[int, bytes] = {}
        while True:
            with self._changed:
                for number in wanted:
                    block = blocks.get(number) or self._cache.get(number)
                    if block is not None:
                        blocks[number] = block
                missing = [number for number in wanted if number not in blocks]
                if not missing:
                    self._next_offset = offset + len(buffer)
                    break
                run = self._claim(missing, sequential=offset == self._next_offset)
                if not run:
                    self._changed.wait()
                    continue
            blocks |= self._fetch(run)
        self._copy(blocks, offset, buffer)

    def try_read_into(self, offset: int, buffer: memoryview) -> bool:
        """Copy from the blocks if all are here."""
        if self._image.changed:
            return False
        size = self._fetch_size
        blocks: dict[int, bytes] = {}
        with self._changed:
            for number in range(offset // size, (offset + len(buffer) - 1) // size + 1):
                block = self._cache.get(number)
                if block is None:
                    return False
                blocks[number] = block
            self._next_offset = offset + len(buffer)
        self._copy(blocks, offset, buffer)
        return True

    def write(self, offset: int, buffer: memoryview) -> None:
        """Refuse."""
        raise OSError(errno.EROFS, "an image behind a URL cannot be written")

    def flush(self) -> None:
        """Nothing is ever waiting to be written."""

    def _claim(self, missing: list[int], sequential: bool) -> range:
        """Take on the first run of blocks that nobody is fetching, with read-ahead; empty: others fetch them all."""
        free = [number for number in missing if number not in self._fetching]
        if not free:
            return range(0)
        first = end = free[0]
        last = missing[-1] + (self._ahead if sequential else 0)
        blocks = -(-self._image.size // self._fetch_size)
        while end <= last and end < blocks and end not in self._fetching and end not in self._cache:
            end += 1
        self._fetching.update(range(first, end))
        return range(first, end)

    def _fetch(self, run: range) -> dict[int, bytes]:
        size = self._fetch_size
        start = run.start * size
        blocks: dict[int, bytes] = {}
        try:
            content = memoryview(self._image.fetch(start, min(run.stop * size, self._image.size) - start))
            blocks = {number: bytes(content[i * size : (i + 1) * size]) for i, number in enumerate(run)}
            return blocks
        finally:
            with self._changed:
                self._fetching.difference_update(run)
                for number, block in blocks.items():
                    self._cache.put(number, block)
                self._changed.notify_all()

    def _copy(self, blocks: Mapping[int, bytes], offset: int, buffer: memoryview) -> None:
        position = 0
        while position < len(buffer):
            number, start = divmod(offset + position, self._fetch_size)
            part = memoryview(blocks[number])[start : start + len(buffer) - position]
            buffer[position : position + len(part)] = part
            position += len(part)


def _whole(options: Mapping[str, object], name: str) -> int:
    value = options[name]
    assert isinstance(value, int)
    return value


def _headers(authorization: str, header: str) -> dict[str, str]:
    """The headers for the image's own server; raises ValueError for one that is none."""
    headers = {"Authorization": authorization} if authorization else {}
    if header:
        name, colon, value = header.partition(":")
        if not colon or not name or any(c <= " " or c > "~" for c in name) or "\r" in value or "\n" in value:
            raise ValueError("header has to be NAME: VALUE")
        headers[name] = value.strip()
    return headers
