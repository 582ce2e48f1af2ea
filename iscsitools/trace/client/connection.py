"""A reader's conversation with a server over one of its sockets."""

from __future__ import annotations

import os
import select
import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from iscsitools.trace.client.source import Timeout
from iscsitools.trace.protocol import Message, StreamParser, TraceError, encode
from iscsitools.trace.record import VERSION

_ANSWER_SECONDS: Final = 10.0
_MAX_FDS: Final = 2
_MOST_UNREAD: Final = 128 << 20
"""Bytes that may have come since the inbox was last empty: the longest line, twice."""
NONSENSE: Final = "the server's answer makes no sense"


class ServerConnection:
    """A connected socket. Raises TraceError when the server cannot be reached, or is not one of this version."""

    def __init__(self, path: str | Path) -> None:
        self.path = os.fspath(path)
        self.ended = False
        """The server has closed the connection or is gone."""
        self.inbox: deque[Message | bytes] = deque()
        """Messages and blocks that nobody asked for, in their order."""
        self.fds: list[int] = []
        """Descriptors that came with the last answers; whoever takes them closes them."""
        self._unread = 0
        self._parser = StreamParser()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(self.path)
            self._socket.setblocking(False)
            greeting = self._wait(lambda message: "iscsitools-trace" in message)
            if "error" in greeting:
                raise TraceError(f"{self.path}: {greeting['error']}")
            if greeting["iscsitools-trace"] != VERSION:
                raise TraceError(
                    f"{self.path}: the server speaks version {greeting['iscsitools-trace']} of the trace, "
                    f"this program version {VERSION}"
                )
            if not _is_server(greeting.get("server")):
                raise TraceError(f"{self.path}: {NONSENSE}")
        except OSError as error:
            self.close()
            raise TraceError(f"{self.path}: {error.strerror or error}") from None
        except TraceError:
            self.close()
            raise
        self.server: Message = greeting["server"]

    def request(self, name: str, **fields: Any) -> Message:
        """Ask and return the answer. Raises TraceError when the server refuses, is gone, or does not answer."""
        try:
            self.send(encode({"request": name, **fields}))
        except OSError as error:
            raise TraceError(f"{self.path}: {error.strerror}") from None
        answer = self._wait(lambda message: message.get("answer") == name or "error" in message)
        if "error" in answer:
            raise TraceError(f"{self.path}: {answer['error']}")
        return answer

    def wait(self, seconds: float) -> Message:
        """The next message; raises TraceError when the server hangs up, or is silent for so long."""
        return self._wait(lambda message: True, seconds)

    def pump(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds for bytes, and put all that has come into the inbox."""
        if self.ended:
            return
        readable = select.select([self._socket], [], [], timeout)[0]
        while readable and self._receive():
            self._parse()

    def close(self) -> None:
        """Close the socket and descriptors that nobody took."""
        self.ended = True
        self._socket.close()
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    def send(self, line: bytes) -> None:
        """Send a line. Raises OSError."""
        # A server that does not read a request for 10 s is as good as gone.
        self._socket.settimeout(_ANSWER_SECONDS)
        try:
            self._socket.sendall(line)
        finally:
            self._socket.setblocking(False)

    def _wait(self, wanted: Callable[[Message], bool], seconds: float | None = None) -> Message:
        """The first message that is wanted. Raises TraceError where none comes: in 10 s, where nothing else is said."""
        seconds = _ANSWER_SECONDS if seconds is None else seconds
        timeout = Timeout(seconds)
        seen = 0
        while True:
            self.pump(timeout.left(seconds))
            for index in range(seen, len(self.inbox)):
                message = self.inbox[index]
                if isinstance(message, dict) and wanted(message):
                    del self.inbox[index]
                    return message
            seen = len(self.inbox)
            if self.ended:
                raise TraceError(f"{self.path}: the server closed the connection")
            if timeout.over:
                raise TraceError(f"{self.path}: the server does not answer")

    def _receive(self) -> bool:
        try:
            data, fds, _, _ = socket.recv_fds(self._socket, 1 << 18, _MAX_FDS, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return False
        except OSError:
            data, fds = b"", []
        self.fds += fds
        if not data:
            self.ended = True
            return False
        self._parser.feed(data)
        self._unread = self._unread + len(data) if self.inbox else len(data)
        if self._unread > _MOST_UNREAD:
            raise TraceError(f"{self.path}: the server says more than it was asked")
        return True

    def _parse(self) -> None:
        while (item := self._parser.next()) is not None:
            self.inbox.append(item)


def _is_server(told: Any) -> bool:
    """Whether a greeting says of a server what belongs to it."""
    texts, numbers = ("name", "version"), ("pid", "monotonic", "realtime")
    return (
        isinstance(told, dict)
        and all(isinstance(told.get(key), str) for key in texts)
        and all(isinstance(told.get(key), int) for key in numbers)
    )


@contextmanager
def sense(path: str) -> Iterator[None]:
    """Turn what reading an answer without its fields raises into one line: who answers so is no server of ours."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError):
        raise TraceError(f"{path}: {NONSENSE}") from None
