"""Recorded streams: what ``record`` writes and every command reads with ``--read``."""

from __future__ import annotations

import struct
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from iscsitools.probes.table import Probe
from iscsitools.trace.client.checked import sessions_of, status_of
from iscsitools.trace.client.source import Trace
from iscsitools.trace.protocol import MAX_BLOCK, Message, StreamParser, TraceError, encode
from iscsitools.trace.record import SIZE, VERSION

_CHUNK: Final = 1 << 20
_WHOSE: Final = struct.Struct("<24xIII4xI84x")
"""Connection, generation, event and length of the CDB of a record."""
_SHORTEST_CDB: Final = 6
_STATUSES: Final = 4096
"""The most that wait for who wants them: one a second."""


class Recorder:
    """Writes a stream. ``server`` and ``selection`` go into the header, for people who find the file later."""

    def __init__(self, out: BinaryIO, server: Message, selection: Message) -> None:
        self._out = out
        self.events = 0
        self.changed = False
        """Whether a connection has come, changed or gone since the sessions were last written."""
        self._sessions_at = self._sessions_size = 0
        header = {"iscsitools-trace": VERSION, "server": server, "selection": selection, "recorded": time.time_ns()}
        self._out.write(encode(header))

    def write(self, trace: Trace, block: bytes) -> None:
        """Write a block that ``trace`` has just returned, after the strings that it needs."""
        for message in trace.take_strings():
            self._out.write(encode(message))
            self.changed = True
        for begin in range(0, len(block), MAX_BLOCK * SIZE):
            part = block[begin : begin + MAX_BLOCK * SIZE]
            self._out.write(encode({"block": len(part) // SIZE}))
            self._out.write(part)
            self.events += len(part) // SIZE
        for ident in trace.take_closed():
            self._out.write(encode({"closed": ident}))
            self.changed = True

    def write_status(self, status: Mapping[str, Any]) -> None:
        """Write what the server says of itself (see :data:`iscsitools.trace.client.checked.STATUS`)."""
        self._out.write(encode({"status": dict(status)}))

    @property
    def outweighs(self) -> bool:
        """Whether the events since the sessions were last written take more bytes than those did."""
        return (self.events - self._sessions_at) * SIZE > self._sessions_size

    def write_sessions(self, sessions: Sequence[Message]) -> None:
        """Write the sessions as the server describes them; a reader keeps the last list."""
        line = encode({"sessions": list(sessions)})
        self._out.write(line)
        self.changed = False
        self._sessions_at, self._sessions_size = self.events, len(line)

    def flush(self) -> None:
        """Let the file have all of it: what a recorder that is killed leaves."""
        self._out.flush()

    def finish(self, drops: int) -> None:
        """Write the end, by which a reader knows that nothing was cut off."""
        self._out.write(encode({"drops": drops}))
        self._out.write(encode({"end": self.events}))
        self._out.flush()


class FileTrace(Trace):
    """A recorded stream.

    ``sessions`` is what the server said last of them before the events that come next; None: it has not yet.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(str(path))
        self._parser = StreamParser()
        self._finished = False
        self._statuses: deque[Message] = deque(maxlen=_STATUSES)
        self.sessions: list[Message] | None = None
        try:
            self._file = open(path, "rb")  # noqa: SIM115
        except OSError as error:
            raise TraceError(f"{path}: {error.strerror}") from None
        try:
            self.header = self._read_header()
        except TraceError as error:
            self._file.close()
            raise TraceError(f"{path}: {error}") from None
        server = self.header.get("server")
        self.server = server if isinstance(server, dict) else {}

    def _read_header(self) -> Message:
        line = self._file.readline(1 << 16)
        self._parser.feed(line)
        if not line.endswith(b"\n"):
            raise TraceError("not a recorded trace")
        try:
            header = self._parser.next()
        except TraceError:
            raise TraceError("not a recorded trace") from None
        if not isinstance(header, dict) or "iscsitools-trace" not in header:
            raise TraceError("not a recorded trace")
        if header["iscsitools-trace"] != VERSION:
            raise TraceError(f"version {header['iscsitools-trace']} of the format; this program reads {VERSION}")
        return header

    def read_block(self, timeout: float | None = None) -> bytes:
        """See :class:`Trace`. Never waits; sets ``note`` when the file ends too early."""
        self._forget()
        while not self.ended:
            item = self._next()
            if isinstance(item, bytes):
                return self._checked(item)
            if item is None:
                self.ended = True
                return self._end()
            if "end" in item:
                self._finished = True
            try:
                self._absorb(item)
            except TraceError as error:
                raise TraceError(f"{self.name}: {error}") from None
        return b""

    def take_statuses(self) -> list[Message]:
        """Return what the server said of itself since the last call, each with its time (see ``sessions.STATUS``)."""
        told = list(self._statuses)
        self._statuses.clear()
        return told

    def close(self) -> None:
        """See :class:`Trace`."""
        self.ended = True
        self._file.close()

    def _absorb(self, message: Message) -> None:
        if "status" in message:
            self._statuses.append(status_of(message["status"]))
        elif "sessions" in message:
            self.sessions = sessions_of(message["sessions"])
        else:
            super()._absorb(message)

    def _next(self) -> Message | bytes | None:
        try:
            while (item := self._parser.next()) is None:
                data = self._file.read(_CHUNK)
                if not data:
                    return None
                self._parser.feed(data)
        except (TraceError, OSError) as error:
            raise TraceError(f"{self.name}: {error}") from None
        return item

    def _end(self) -> bytes:
        if self._finished and not self._parser.partial:
            return b""
        self.note = f"{self.name}: the recording was not finished; it is read up to its last whole record"
        return self._checked(self._parser.rest())

    def _checked(self, block: bytes) -> bytes:
        """Return records of which each one is of an event and a connection that there are. Raises TraceError."""
        for ident, generation, probe, length in set(_WHOSE.iter_unpack(block)):
            whole = length >= _SHORTEST_CDB or probe != Probe.SCSI_COMMAND
            if probe >= len(Probe) or (ident, generation) not in self.names or not whole:
                raise TraceError(f"{self.name}: not a trace: a record that cannot be one")
        self.position += len(block) // SIZE
        return block


def open_file(path: str | Path) -> FileTrace:
    """Open what ``iscsitools record`` wrote. Raises TraceError with one line for the user."""
    return FileTrace(path)
