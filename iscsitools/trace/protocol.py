"""The messages between a server and its readers: lines of JSON, and blocks of records between them.

``docs/trace-protocol.md`` describes every message. A file that ``record`` writes is such a stream, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Final

from iscsitools.trace.events import ConnectionStrings
from iscsitools.trace.record import SIZE

MAX_REQUEST: Final = 16384
"""Bytes of a request's line; a longer one ends the conversation."""
MAX_CONTROL_REQUEST: Final = 4 << 20
"""The same on the control socket: a configuration of some thousand disks."""
MAX_LINE: Final = 64 << 20
"""Bytes of a line that a reader takes from a server or a file."""
MAX_BLOCK: Final = 1 << 20
"""Records of one block that a reader takes."""
HEADER: Final = 4096
"""Bytes before a ring's first record; its first word counts the drops."""

Message = dict[str, Any]
_STRINGS: Final = tuple(field.name for field in fields(ConnectionStrings))[1:]


class TraceError(Exception):
    """Tracing cannot begin or go on; the text is one line for the user."""


@dataclass(frozen=True, slots=True)
class ReaderLimits:
    """What readers may cost a server."""

    readers: int = 32
    """Connections to the two sockets together."""
    ring_bytes: int = 64 << 20
    """One reader's ring or buffer."""
    total_bytes: int = 256 << 20
    """All readers' rings and buffers."""
    backlog_bytes: int = 8 << 20
    """Answers that one reader has not taken yet."""
    units_per_second: int = 100
    """Of one reader: a request costs one, and one more for each 4 KiB of its answer; what is beyond that waits."""
    units_of_all: int = 400
    """Of all readers together in a second."""
    stall_seconds: float = 10.0
    """How long a reader may leave its socket full."""


def encode(message: Message) -> bytes:
    """Make a message's line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def encode_list(values: Iterable[Any]) -> Iterator[bytes]:
    """Make a JSON list in parts, one value at a time."""
    before = b"["
    for value in values:
        yield before + json.dumps(value, separators=(",", ":")).encode()
        before = b","
    yield b"[]" if before == b"[" else b"]"


def decode(line: bytes | bytearray) -> Message:
    """Read a line. Raises ValueError when it is not a JSON object."""
    try:
        message = json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(message, dict):
        raise ValueError("not a JSON object")
    return message


def number_of(value: Any) -> int:
    """Return a number of a message. Raises TraceError when it is none, or negative."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TraceError("not a trace: a message without the number that belongs into it")
    return value


def printable(text: str) -> str:
    """``text`` with ``?`` for control characters, which would have a terminal do as they say.

    The login takes no such names: only a recording that somebody made up has them.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def connection_of(told: Any) -> tuple[int, ConnectionStrings]:
    """Read what a message tells of a connection: the generation, and the strings. Raises TraceError."""
    try:
        texts = [told[name] for name in _STRINGS]
        numbers = number_of(told["ident"]), number_of(told["generation"])
    except (KeyError, TypeError):
        raise TraceError("not a trace: a connection without its strings") from None
    if not all(isinstance(text, str) for text in texts):
        raise TraceError("not a trace: a connection without its strings")
    return numbers[1], ConnectionStrings(numbers[0], *map(printable, texts))


class StreamParser:
    """Takes bytes of a stream apart into messages and blocks of whole records.

    A message ``{"block": N}`` is followed by N records; it comes out as the bytes of them.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._block = 0
        """Bytes of the block that is being received; 0: a line is next."""

    def feed(self, data: bytes | memoryview) -> None:
        """Add bytes."""
        self._data += data

    def next(self) -> Message | bytes | None:
        """Return the next whole message or block, None when more bytes are needed. Raises TraceError."""
        while True:
            if self._block:
                if len(self._data) < self._block:
                    return None
                return self._cut(self._block)
            end = self._data.find(b"\n")
            if end < 0:
                if len(self._data) > MAX_LINE:
                    raise TraceError("not a trace: a line without end")
                return None
            message = self._line(end)
            if "block" not in message:
                return message
            count = message["block"]
            if not isinstance(count, int) or not 0 < count <= MAX_BLOCK:
                raise TraceError("not a trace: a block of impossible size")
            self._block = count * SIZE

    def rest(self) -> bytes:
        """Return the whole records of a block that was cut short, for the end of a truncated file."""
        if not self._block:
            return b""
        whole = bytes(self._data[: len(self._data) // SIZE * SIZE])
        return whole

    @property
    def partial(self) -> bool:
        """Whether bytes of an unfinished message or block are held."""
        return bool(self._data or self._block)

    def _line(self, end: int) -> Message:
        try:
            message = decode(self._data[:end])
        except ValueError as error:
            raise TraceError(f"not a trace: {error}") from None
        del self._data[: end + 1]
        return message

    def _cut(self, length: int) -> bytes:
        block = bytes(self._data[:length])
        del self._data[:length]
        self._block = 0
        return block
