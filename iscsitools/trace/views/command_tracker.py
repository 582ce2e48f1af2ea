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

from iscsitools.probes.firing import XFER_READ, XFER_WRITE
from iscsitools.probes.table import Probe
from iscsitools.trace.events import Event
from iscsitools.trace.views import header_fields
from iscsitools.trace.views.observed_command import Management, ObservedCommand, port

_Key = tuple[int, int]


def _kind(event: Event) -> int:
    return event.xfer.type if event.xfer is not None else XFER_WRITE


class CommandTracker:
    """Feed it every event of one server, in order; it gives commands as they end.

    ``keep_events``: a command keeps all its events. ``settle``: a command is given when its transfers have ended
    too, so that its phases are complete.
    """

    def __init__(self, keep_events: bool = False, settle: bool = False) -> None:
        self._keep = keep_events
        self._settle = settle
        self._open: dict[_Key, ObservedCommand] = {}
        self._management: dict[_Key, Management] = {}
        self._now = 0
        self._handlers: dict[Probe, Callable[[Event, _Key], Sequence[ObservedCommand]]] = {
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
    def in_flight(self) -> Iterable[ObservedCommand]:
        """The commands that have begun and not ended."""
        return self._open.values()

    def feed(self, event: Event) -> Sequence[ObservedCommand]:
        """Take an event; returns the commands that it ended, mostly none."""
        self._now = event.time
        handler = self._handlers.get(event.probe)
        return handler(event, (event.conn.ident, event.info.itt)) if handler is not None else ()

    def closed(self, ident: int) -> Sequence[ObservedCommand]:
        """The connection is no more; returns the commands that ended with it, at the time of the last event."""
        for key in [key for key in self._management if key[0] == ident]:
            del self._management[key]
        return self._abort(None, [key for key in self._open if key[0] == ident])

    def _started(self, event: Event, key: _Key) -> Sequence[ObservedCommand]:
        flags = event.info.flags
        command = ObservedCommand(event.conn, event.info.lun, event.info.itt, event.cdb, flags, event.time)
        if flags & header_fields.WRITE_FLAG:
            command.data_out = event.info.datalen
        self._open[key] = command
        self._note(command, event)
        return ()

    def _note(self, command: ObservedCommand, event: Event) -> None:
        if self._keep:
            command.events.append(event)

    def _responded(self, event: Event, key: _Key) -> Sequence[ObservedCommand]:
        command = self._open.get(key)
        return () if command is None else self._ended(command, event, key, header_fields.response(event))

    def _sent(self, event: Event, key: _Key) -> Sequence[ObservedCommand]:
        command = self._open.get(key)
        if command is None:
            return ()
        command.data_in += event.info.datalen
        if event.info.flags & header_fields.DATA_STATUS:
            return self._ended(command, event, key, 0)
        self._note(command, event)
        return ()

    def _ended(self, command: ObservedCommand, event: Event, key: _Key, response: int) -> Sequence[ObservedCommand]:
        self._note(command, event)
        command.end = event.time
        command.status = header_fields.scsi_status(event)
        command.response = response
        command.sense = event.sense
        if self._settle and command.open_transfers:
            return ()
        del self._open[key]
        return (command,)

    def _received(self, event: Event, key: _Key) -> Sequence[ObservedCommand]:
        command = self._open.get(key)
        if command is not None:
            command.data_out += event.info.datalen
            self._note(command, event)
        return ()

    def _requested(self, event: Event, key: _Key) -> Sequence[ObservedCommand]:
        command = self._open.get(key)
        if command is not None:
            self._note(command, event)
        return ()

    def _xfer_started(self, event: Event, key: _Key) -> Sequence[ObservedCommand]:
        command = self._open.get(key)
        if command is not None:
            if command.open_transfers == 0:
                command.opened = event.time
                command.kind = _kind(event)
            command.open_transfers += 1
            self._note(command, event)
        return ()

    def _xfer_done(self, event: Event, key: _Key) -> Sequence[ObservedCommand]:
        command = self._open.get(key)
        if command is None or command.open_transfers == 0 or command.kind != _kind(event):
            return ()  # of the command before, where its tag came again before its data had left
        self._note(command, event)
        command.open_transfers -= 1
        if command.open_transfers:
            return ()
        took = event.time - command.opened
        if command.kind == XFER_READ:
            command.sending += took
        else:
            command.waiting += took
        command.done = event.time
        if not command.end:
            return ()
        del self._open[key]
        return (command,)

    def _management_asked(self, event: Event, key: _Key) -> Sequence[ObservedCommand]:
        self._management[key] = Management(event.conn, header_fields.function(event), event.info.lun, event.info.ttt)
        return ()

    def _management_answered(self, event: Event, key: _Key) -> Sequence[ObservedCommand]:
        asked = self._management.pop(key, None)
        if asked is None or header_fields.response(event) != 0:
            return ()
        return self._abort(event, [k for k, command in self._open.items() if asked.names(command)])

    def _logged_out(self, event: Event, key: _Key) -> Sequence[ObservedCommand]:
        if header_fields.response(event) != 0:
            return ()
        return self._abort(event, [k for k in self._open if k[0] == event.conn.ident])

    def _logged_in(self, event: Event, key: _Key) -> Sequence[ObservedCommand]:
        """A new session of an initiator port takes the place of its old one; another connection of it does not."""
        if not header_fields.is_final_login(event):
            return ()
        new = event.conn
        gone = [k for k, command in self._open.items() if port(command.conn) == port(new) and k[0] != new.ident
                and command.conn.tsih != new.tsih]  # fmt: skip
        return self._abort(event, gone)

    def _abort(self, event: Event | None, keys: list[_Key]) -> Sequence[ObservedCommand]:
        ended = [self._open.pop(key) for key in keys]
        for command in ended:
            command.aborted = not command.end
            command.end = command.end or self._now
            if event is not None:
                self._note(command, event)
        return ended
