"""Sums by connection, LUN and command, kept while events go by: the same class in the server and over a recorded file.

:class:`CommandSums` and ``counts.EventCounts`` subscribe to the probes; ``trace.replay`` feeds them records instead.
What they count is said in :mod:`iscsitools.trace.sums.snapshot`, which is also the form in which they are read.

Latency is from scsi-command to the scsi-response, or to the data-send with the S bit, of the same ITT on the same
connection. A task management function answered "complete" clears the starts of the tasks that it names, and a
closed connection its own; an end whose start was not seen counts nothing; a command that failed is counted apart.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from iscsitools.probes.firing import (
    DATA_RECEIVE,
    DATA_SEND,
    SCSI_COMMAND,
    SCSI_RESPONSE,
    TASK_COMMAND,
    TASK_RESPONSE,
    XFER_DONE,
    XFER_READ,
    XFER_START,
)
from iscsitools.probes.subscribers import Buffer, Calls, ConnectionInfo, Log, Mark
from iscsitools.trace.sums import aborted
from iscsitools.trace.sums.arrivals import NONE, full
from iscsitools.trace.sums.busy import begin_all, end_all
from iscsitools.trace.sums.cell_table import CellTable
from iscsitools.trace.sums.counters import Cell, Starts
from iscsitools.trace.sums.declared import PHASES, Histogram
from iscsitools.trace.sums.lun_filter import of_lun
from iscsitools.wire.operations import extent_of

MASK: Final = SCSI_COMMAND | SCSI_RESPONSE | DATA_SEND | DATA_RECEIVE | TASK_COMMAND | TASK_RESPONSE
"""The probes that the sums are made of. The phases of commands need :data:`TRANSFERS` too."""
TRANSFERS: Final = XFER_START | XFER_DONE

# Flags, lengths (TotalAHSLength and DataSegmentLength), ITT, and the operation code of a SCSI Command PDU.
_COMMAND: Final = struct.Struct(">xB2xI8xI12xB").unpack_from
# Flags, Response and Status, lengths, ITT of the others.
_OTHER: Final = struct.Struct(">xBHI8xI").unpack_from
# Of a SCSI Command PDU, Expected Data Transfer Length and ExpStatSN, and the StatSN of an answer.
_LENGTH_AND_STATSN: Final = struct.Struct(">20xI4xI").unpack_from
_STATSN: Final = struct.Struct(">24xI").unpack_from
_REFERENCED: Final = struct.Struct(">I").unpack_from
_CONDITION_MET: Final = 0x04  # with GOOD (0) what is no failure (SAM-5 5.3)


def mask_of(histograms: Iterable[Histogram]) -> int:
    """The probes that sums with these histograms are made of."""
    return MASK | TRANSFERS if any(histogram.name in PHASES for histogram in histograms) else MASK


class CommandSums(CellTable):
    """Commands, data PDUs, latencies and failures. Give it the events of :attr:`mask`."""

    @property
    def mask(self) -> int:
        """The probes to subscribe to."""
        return mask_of(self.histograms)

    def direct(self, clock: Callable[[], int], fail: Callable[[Exception], None]) -> Calls:
        """Make the calls for the call sites (see ``probes.subscribers.DirectSubscriber``).

        Hot: no call for a command that the fast path answers, which is in the log, and two to four for another one.
        Flat on purpose, one unpack per event, no look-up beyond the connection's own tables, latencies only put by;
        ``benchmarks/trace_cost.py`` measures it.
        """
        self._clock = clock
        busy = self._busy
        last: ConnectionInfo | None = None
        generation = -1
        aliases: dict[int, Cell] = {}
        starts: Starts = {}
        state = self._new_connection(self._nobody)
        more = bool(self.histograms)
        phased = state.phases.kept
        most = full(1)
        answered: int | None = None  # the StatSN of the last answer of this connection
        statsn_of = _STATSN

        def turn_to(conn: ConnectionInfo) -> bool:
            nonlocal last, generation, aliases, starts, state, answered, most
            state.answered = answered
            state = self._state(conn)
            most = full(len(self._connections))
            answered = state.answered
            last = conn if state.admitted else None
            generation, aliases, starts = conn.generation, state.aliases, state.starts
            return state.admitted

        def pdu(
            probe: int,
            conn: ConnectionInfo,
            lun: int,
            buffer: Buffer,
            offset: int = 0,
            cdb: bytes = b"",
            sense: int = 0,
        ) -> None:
            nonlocal answered
            try:
                if (conn is not last or conn.generation != generation) and not turn_to(conn):
                    return
                if probe == 6:  # scsi-command
                    flags, length, itt, opcode = _COMMAND(buffer, offset)
                    alias = lun << 16 | opcode << 8 | flags
                    try:
                        cell = aliases[alias]
                    except KeyError:
                        cell = self._cell_of(state, alias, lun, cdb, flags)
                    cell.commands = number = cell.commands + 1
                    if flags & 0x20 and length & 0xFFFFFF:  # immediate data of a write
                        cell.out_pdus += 1
                        cell.out_bytes += length & 0xFFFFFF
                    if more:
                        size, exp_statsn = _LENGTH_AND_STATSN(buffer, offset)
                        moves = flags & 0x60
                        extent = extent_of(cdb) if moves else None
                        lba, blocks = extent if extent is not None and extent.blocks else (NONE, 0)
                        size = size if moves else NONE
                        state.arrivals.put(cell, size, lba, blocks, exp_statsn, answered, len(starts))
                    if phased and itt in state.phases.transfers:
                        state.phases.replaced(itt, clock())
                    if not number & 255:
                        state.fold()
                        state.trim()
                    now = clock()
                    if busy is not None:
                        if itt in starts:
                            end_all(starts[itt][1].spans, now)
                        begin_all(cell.spans, now)
                    starts[itt] = now, cell
                    return
                flags, outcome, length, itt = _OTHER(buffer, offset)
                if probe == 8:  # data-send, which has no AHS
                    if flags & 1:  # and the status, which ends the command
                        if more:
                            (answered,) = statsn_of(buffer, offset)
                        start = starts.pop(itt, None)
                        cell = start[1] if start is not None else self._unknown(state, lun)
                        cell.in_pdus += 1
                        cell.in_bytes += length
                    else:
                        start = starts.get(itt)
                        cell = start[1] if start is not None else self._unknown(state, lun)
                        cell.in_pdus += 1
                        cell.in_bytes += length
                        return
                elif probe == 7:  # scsi-response
                    if more:
                        (answered,) = statsn_of(buffer, offset)
                    start = starts.pop(itt, None)
                elif probe == 9:  # data-receive
                    start = starts.get(itt)
                    cell = start[1] if start is not None else self._unknown(state, lun)
                    cell.out_pdus += 1
                    cell.out_bytes += length & 0xFFFFFF
                    return
                else:
                    if probe == 11:  # task-command
                        aborted.asked(state, itt, flags & 0x7F, lun, _REFERENCED(buffer, offset + 20)[0])
                    elif probe == 12 and outcome >> 8 == 0:  # task-response: function complete (RFC 7143 11.6.1)
                        aborted.answered(self._connections.values(), state, itt)
                    return
                if start is None:
                    return
                began, cell = start
                good = not outcome or outcome == _CONDITION_MET
                if good or busy is not None:
                    now = clock()
                if busy is not None:
                    end_all(cell.spans, now)
                if good:
                    cell.recent.append(now - began)
                    if phased:
                        state.phases.ended(itt, cell, began, now)
                else:  # the status, or the high byte: an iSCSI response other than "completed at target"
                    cell.failed += 1
                    cell.errors[outcome << 24 | sense] += 1
                    state.phases.forget(itt)
            except Exception as error:
                fail(error)

        def log(conn: ConnectionInfo) -> Log | None:
            try:
                if (conn is not last or conn.generation != generation) and not turn_to(conn):
                    return None
                arrivals = state.arrivals
                if len(arrivals.log[0]) >= most:
                    arrivals.fold()
                return arrivals.log
            except Exception as error:
                fail(error)
                return None

        def logged(began: int, statsn: int, itt: int) -> None:
            try:
                if busy is not None and busy.open:
                    state.arrivals.hide_busy(began)
                state.arrivals.end_stretch(began, statsn, itt, answered, len(starts))
            except Exception as error:
                fail(error)

        def xfer(
            probe: int, conn: ConnectionInfo, lun: int, itt: int, ttt: int, laddr: int, loffset: int, length: int,
            kind: int,
        ) -> None:  # fmt: skip
            try:
                if (conn is not last or conn.generation != generation) and not turn_to(conn):
                    return
                if probe == 16:  # xfer-start
                    if itt in starts:
                        state.phases.start(itt, clock(), kind)
                    return
                now = clock()
                if not state.phases.done(itt, now, kind) and kind == XFER_READ:
                    state.arrivals.gone.append((now, itt))
            except Exception as error:
                fail(error)

        def sent(conn: ConnectionInfo, marks: deque[Mark], upto: int) -> None:
            try:
                wanted = (conn is last and conn.generation == generation) or turn_to(conn)
                while marks and marks[0][0] <= upto:
                    itt = marks.popleft()[2]
                    if not wanted:
                        continue
                    now = clock()
                    if not state.phases.done(itt, now, XFER_READ):
                        state.arrivals.gone.append((now, itt))
            except Exception as error:
                fail(error)

        moved = (xfer, sent) if phased else (_ignore_xfer, None)
        calls = Calls(pdu, moved[0], sent=moved[1], log=log, logged=logged)
        return of_lun(self._selection.lun, calls, TASK_COMMAND | TASK_RESPONSE)


def _ignore_xfer(
    probe: int, conn: ConnectionInfo, lun: int, itt: int, ttt: int, laddr: int, loffset: int, length: int, kind: int
) -> None:
    """Transfers are in the phases alone."""
