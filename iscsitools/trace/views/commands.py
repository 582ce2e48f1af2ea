"""Commands put together from their events: the rules of latency.

A command begins with its scsi-command and ends with its scsi-response, or with the data-send that has the S bit,
whichever comes. The key is the connection and the ITT, because the sessions of one initiator use the same ITTs.

- An end whose start was not seen (the view came later) does not count.
- A task management function that was answered "complete" ends what it names without a status (RFC 7143 11.5): one task,
  the nexus's tasks of a LUN, all tasks of a LUN, or all of the target.
- A logout, and a login that reinstates the session (RFC 7143 6.3.5), end the tasks of the connections that go away; so
  does the loss of a connection, which is no event: who feeds the events calls :meth:`CommandTracker.closed`.
- A second scsi-command with an ITT that is still open means that the first one's end was lost: it is forgotten.

Time is divided by what the target waited for. While a transfer is open (xfer-start to xfer-done) a write waits for the
initiator's data and a read for its data to leave; all other time up to the end is the backstore's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from iscsitools.probes.sites import XFER_READ
from iscsitools.probes.table import Probe
from iscsitools.trace.events import ConnectionStrings, Event
from iscsitools.trace.views import fields

_Key = tuple[int, int]


@dataclass(slots=True, eq=False)
class Command:
    """One SCSI command. Times in nanoseconds; ``sense`` is key << 16 | ASC << 8 | ASCQ."""

    conn: ConnectionStrings
    lun: int
    itt: int
    cdb: bytes
    flags: int
    start: int
    end: int = 0
    status: int = 0
    response: int = 0
    sense: int = 0
    aborted: bool = False
    data_in: int = 0
    """Bytes of Data-In that were sent."""
    data_out: int = 0
    """Bytes of immediate data and Data-Out that were received."""
    sending: int = 0
    waiting: int = 0
    open_transfers: int = 0
    opened: int = 0
    done: int = 0
    """When the last transfer ended; a read's may be after ``end``, which is the status's way into the output."""
    events: list[Event] = field(default_factory=list)

    @property
    def operation(self) -> str:
        """``read``, ``write`` or "", by the command's flags."""
        return fields.operation(self.flags)

    @property
    def latency(self) -> int:
        """From the command to its status."""
        return self.end - self.start

    @property
    def failed(self) -> bool:
        """Ended otherwise than with GOOD or CONDITION MET."""
        return self.aborted or self.response != 0 or self.status not in (0x00, 0x04)

    @property
    def total(self) -> int:
        """From the command to its status or the end of its last transfer, whichever is later."""
        return max(self.end, self.done) - self.start

    @property
    def backstore(self) -> int:
        """The time in which no transfer was open."""
        return self.total - self.sending - self.waiting


@dataclass(slots=True)
class _Management:
    conn: ConnectionStrings
    function: int
    lun: int
    referenced: int


class CommandTracker:
    """Feed it every event of one server, in order; it gives commands as they end.

    ``keep_events``: a command keeps all its events. ``settle``: a command is given when its transfers have ended
    too, so that its phases are complete.
    """

    def __init__(self, keep_events: bool = False, settle: bool = False) -> None:
        self._keep = keep_events
        self._settle = settle
        self._open: dict[_Key, Command] = {}
        self._management: dict[_Key, _Management] = {}
        self._now = 0
        self._handlers: dict[Probe, Callable[[Event, _Key], Sequence[Command]]] = {
            Probe.SCSI_COMMAND: self._started,
            Probe.SCSI_RESPONSE: self._responded,
            Probe.DATA_SEND: self._sent,
            Probe.DATA_RECEIVE: self._received,
            Probe.DATA_REQUEST: self._requested,
            Probe.XFER_START: self._xfer_started,
            Probe.XFER_DONE: self._xfer_done,
            Probe.TASK_COMMAND: self._management_asked,
            Probe.TASK_RESPONSE: self._management_answered,
            Probe.LOGOUT_RESPONSE: self._logged_out,
            Probe.LOGIN_RESPONSE: self._logged_in,
        }

    @property
    def in_flight(self) -> Iterable[Command]:
        """The commands that have begun and not ended."""
        return self._open.values()

    def feed(self, event: Event) -> Sequence[Command]:
        """Take an event; returns the commands that it ended, mostly none."""
        self._now = event.time
        handler = self._handlers.get(event.probe)
        return handler(event, (event.conn.ident, event.info.itt)) if handler is not None else ()

    def closed(self, ident: int) -> Sequence[Command]:
        """The connection is no more; returns the commands that ended with it, at the time of the last event."""
        for key in [key for key in self._management if key[0] == ident]:
            del self._management[key]
        return self._abort(None, [key for key in self._open if key[0] == ident])

    def _started(self, event: Event, key: _Key) -> Sequence[Command]:
        flags = event.info.flags
        command = Command(event.conn, event.info.lun, event.info.itt, event.cdb, flags, event.time)
        if flags & fields.WRITE_FLAG:
            command.data_out = event.info.datalen
        self._open[key] = command
        self._note(command, event)
        return ()

    def _note(self, command: Command, event: Event) -> None:
        if self._keep:
            command.events.append(event)

    def _responded(self, event: Event, key: _Key) -> Sequence[Command]:
        command = self._open.get(key)
        return () if command is None else self._ended(command, event, key, fields.response(event))

    def _sent(self, event: Event, key: _Key) -> Sequence[Command]:
        command = self._open.get(key)
        if command is None:
            return ()
        command.data_in += event.info.datalen
        if event.info.flags & fields.DATA_STATUS:
            return self._ended(command, event, key, 0)
        self._note(command, event)
        return ()

    def _ended(self, command: Command, event: Event, key: _Key, response: int) -> Sequence[Command]:
        self._note(command, event)
        command.end = event.time
        command.status = fields.scsi_status(event)
        command.response = response
        command.sense = event.sense
        if self._settle and command.open_transfers:
            return ()
        del self._open[key]
        return (command,)

    def _received(self, event: Event, key: _Key) -> Sequence[Command]:
        command = self._open.get(key)
        if command is not None:
            command.data_out += event.info.datalen
            self._note(command, event)
        return ()

    def _requested(self, event: Event, key: _Key) -> Sequence[Command]:
        command = self._open.get(key)
        if command is not None:
            self._note(command, event)
        return ()

    def _xfer_started(self, event: Event, key: _Key) -> Sequence[Command]:
        command = self._open.get(key)
        if command is not None:
            if command.open_transfers == 0:
                command.opened = event.time
            command.open_transfers += 1
            self._note(command, event)
        return ()

    def _xfer_done(self, event: Event, key: _Key) -> Sequence[Command]:
        command = self._open.get(key)
        if command is None or command.open_transfers == 0:
            return ()
        self._note(command, event)
        command.open_transfers -= 1
        if command.open_transfers:
            return ()
        took = event.time - command.opened
        if event.xfer is not None and event.xfer.type == XFER_READ:
            command.sending += took
        else:
            command.waiting += took
        command.done = event.time
        if not command.end:
            return ()
        del self._open[key]
        return (command,)

    def _management_asked(self, event: Event, key: _Key) -> Sequence[Command]:
        self._management[key] = _Management(event.conn, fields.function(event), event.info.lun, event.info.ttt)
        return ()

    def _management_answered(self, event: Event, key: _Key) -> Sequence[Command]:
        asked = self._management.pop(key, None)
        if asked is None or fields.response(event) != 0:
            return ()
        return self._abort(event, [k for k, command in self._open.items() if _names(asked, command)])

    def _logged_out(self, event: Event, key: _Key) -> Sequence[Command]:
        if fields.response(event) != 0:
            return ()
        return self._abort(event, [k for k in self._open if k[0] == event.conn.ident])

    def _logged_in(self, event: Event, key: _Key) -> Sequence[Command]:
        """A new session of an initiator port takes the place of its old one; another connection of it does not."""
        if not fields.is_final_login(event):
            return ()
        new = event.conn
        gone = [k for k, command in self._open.items() if _port(command.conn) == _port(new) and k[0] != new.ident
                and command.conn.tsih != new.tsih]  # fmt: skip
        return self._abort(event, gone)

    def _abort(self, event: Event | None, keys: list[_Key]) -> Sequence[Command]:
        ended = [self._open.pop(key) for key in keys]
        for command in ended:
            command.aborted = not command.end
            command.end = command.end or self._now
            if event is not None:
                self._note(command, event)
        return ended


def _port(conn: ConnectionStrings) -> tuple[str, str, str]:
    return conn.target, conn.initiator, conn.isid


def _names(asked: _Management, command: Command) -> bool:
    """Whether a task management function ends this command (RFC 7143 11.5.1); a target reset has no LUN."""
    conn, asker = command.conn, asked.conn
    same_session = _port(conn) == _port(asker) and conn.tsih == asker.tsih
    same_lun = command.lun == asked.lun and conn.target == asker.target
    match asked.function:
        case 1:
            return same_session and command.itt == asked.referenced
        case 2:
            return same_session and same_lun
        case 4 | 5:
            return same_lun
        case 6 | 7:
            return conn.target == asker.target
    return False
