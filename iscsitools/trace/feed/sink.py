"""Where one reader's records go: common to the ring and to the socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from iscsitools.probes.firing import DATA_SEND, SCSI_COMMAND, SCSI_RESPONSE, XFER_DONE, XFER_START
from iscsitools.probes.subscribers import Calls, ConnectionInfo, Tracer
from iscsitools.trace.feed.writer import Writer, make_writer
from iscsitools.trace.memory import words_of
from iscsitools.trace.protocol import Message
from iscsitools.trace.record import SIZE
from iscsitools.trace.selection import Selection
from iscsitools.trace.sums.lun_filter import of_lun
from iscsitools.trace.sums.snapshot import STRINGS

_READ: Final = SCSI_COMMAND | XFER_START | DATA_SEND
_WRITE: Final = SCSI_COMMAND | XFER_START | XFER_DONE | SCSI_RESPONSE
"""The events that one call stands for."""
_CHUNK: Final = 256
"""Records granted to the writer at a time."""


class RingTracer(Tracer, Protocol):
    """``iscsitools.datapath._native.RingTracer``."""

    @property
    def written(self) -> int:
        """Records so far."""

    @property
    def drops(self) -> int:
        """Events for which there was no room, where it looks at the reader's position by itself."""

    def revoke(self) -> None:
        """Take back what was granted and not used."""

    def release(self) -> None:
        """Let go of the memory."""


def connection_message(conn: ConnectionInfo) -> Message:
    """Make the message that tells a connection's strings."""
    fields: dict[str, Any] = {name: getattr(conn, name) for name in STRINGS}
    return {"connection": {**fields, "generation": conn.generation & 0xFFFFFFFF}}


class Sink:
    """Writes the records of the events that a reader selected into ``memory``.

    ``tell`` sends the reader a message before any record that is written later; if it cannot, it returns False and
    the reader is let go. ``tell_early`` may take its time; it is used only before the first record.
    ``lost`` is called when the sink broke and wants to be taken down.
    """

    def __init__(
        self,
        selection: Selection,
        memory: memoryview,
        tell_early: Callable[[Message], bool],
        tell: Callable[[Message], bool],
        lost: Callable[[], None],
    ) -> None:
        self.selection = selection
        self._dropped = 0
        self._memory = memory
        self._capacity = len(memory) // SIZE
        self._tell_early = tell_early
        self._tell = tell
        self._lost = lost
        self._known: dict[int, tuple[int, bool]] = {}
        """Of each connection: the generation of its strings when last seen, and whether its records are wanted."""
        self._words = words_of(memory)
        self._writer: Writer | None = None
        self._tracer: RingTracer | None = None
        """The writer's twin in C, where that writes."""
        self._zeros = memoryview(bytes(_CHUNK * 8)).cast("Q")

    def direct(self, clock: Callable[[], int], fail: Callable[[Exception], None]) -> Calls:
        """Make the calls for the call sites (see ``probes.subscribers.DirectSubscriber``)."""
        self._writer = make_writer(
            self._memory, self._words, self._capacity, clock, self._gives_up(fail), self.introduce, self._grant
        )
        calls, mask = self._writer.calls, self.selection.mask
        whole = calls._replace(
            read=calls.read if mask & _READ == _READ else None,
            write=calls.write if mask & _WRITE == _WRITE else None,
            sent=calls.sent if mask & XFER_DONE else None,
        )
        return of_lun(self.selection.lun, whole)

    def native(self, module: Any, clock: Callable[[], int] | None, fail: Callable[[Exception], None]) -> Tracer:
        """Make the writer in C (see ``probes.subscribers.NativeSubscriber``)."""
        # Of what the view is of, and not of the view: the collector would break that before it breaks the tracer.
        offset = memoryview(self._memory.obj).nbytes - self._memory.nbytes
        tracer: RingTracer = module.RingTracer(
            self._memory.obj, offset, self.introduce, self._grant, self._gives_up(fail), clock, self.selection.lun
        )
        self._tracer = tracer
        return tracer

    def _gives_up(self, fail: Callable[[Exception], None]) -> Callable[[Exception], None]:
        def failed(error: Exception) -> None:
            fail(error)
            self._lost()

        return failed

    @property
    def drops(self) -> int:
        """Events that were lost because the reader was too slow."""
        return self._dropped

    @property
    def written(self) -> int:
        """Return how many records were written."""
        if self._tracer is not None:
            return self._tracer.written
        return self._writer.written() if self._writer else 0

    def _revoke(self) -> None:
        """Have the next event ask for room."""
        if self._tracer is not None:
            self._tracer.revoke()
        elif self._writer is not None:
            self._writer.revoke()

    def introduce_early(self, conn: ConnectionInfo) -> None:
        """Tell the strings of a connection that was there when the reader attached."""
        self._introduce(conn, self._tell_early)

    def introduce(self, conn: ConnectionInfo) -> bool:
        """Tell the reader a connection's strings, unless it has them. Returns whether its records are wanted."""
        generation, wanted = self._known.get(conn.ident, (None, False))
        return wanted if generation == conn.generation else self._introduce(conn, self._tell)

    def _introduce(self, conn: ConnectionInfo, tell: Callable[[Message], bool]) -> bool:
        wanted = self.selection.admits(conn) and tell(connection_message(conn))
        self._known[conn.ident] = conn.generation, wanted
        return wanted

    def connection_closed(self, ident: int) -> None:
        """Tell the reader that a connection it knows is no more."""
        if self._known.pop(ident, (0, False))[1]:
            self._tell({"closed": ident, **self._last_record()})

    def _last_record(self) -> Message:
        """At or before which record the last one of a connection is, that ends now."""
        return {"after": self.written}

    def flush(self) -> None:
        """Send what can still be sent."""

    def release(self) -> None:
        """Let go of the memory; the sink must no longer be subscribed."""
        if self._tracer is not None:
            self._tracer.release()
        self._words.release()
        self._memory.release()

    def _free(self, written: int) -> int:
        """Return how many more records may be written."""
        raise NotImplementedError  # abstract

    def _grant(self, written: int) -> int:
        slot = written & self._capacity - 1
        count = min(self._free(written), _CHUNK, self._capacity - slot)
        if count == 0:
            self._count_drop()
            return written
        # Spoil the sequence numbers of what will be overwritten before any other byte of it: a reader that is still
        # copying one of these records, against its own word, finds out by the number.
        self._words[slot << 4 : slot + count << 4 : 16] = self._zeros[:count]
        return written + count

    def _count_drop(self) -> None:
        self._dropped += 1
