"""The engine of one connection: bytes and the time go in, bytes and tasks come out (RFC 7143 chapters 4, 6, 11).

Life of a connection, all of it: *login* (PDUs go to :mod:`.login`, one at a time), *full feature* (the loop below),
*closing* (nothing more is read; the output is sent, then the connection is closed). ``close_reason`` tells the last.

This file is the data path, and bends the style for it. Received bytes are parsed in place, all PDUs of one
readable event in one go; a READ or WRITE of the common form to a unit whose gate is open is answered inside the loop,
without an object of its own; answers are written one behind the other into a chunk that leaves in one send. What is
not of that form goes to :meth:`Connection._general`, which takes one PDU at a time and may take its time.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from iscsitools.backstores.base import FileRange
from iscsitools.iscsi.buffers import CHUNK_SIZE, RECEIVE_SIZE, Buffers
from iscsitools.iscsi.digest import crc32c_wire
from iscsitools.iscsi.negotiation import Parameters
from iscsitools.iscsi.output import Output
from iscsitools.iscsi.pdu import (
    BHS_LENGTH,
    COMMAND,
    DIGEST_LENGTH,
    FAST_ANSWER,
    FORM,
    LONG_CDB,
    READ_COMMAND,
    READ_DONE,
    RESERVED_TAG,
    SERIAL_MASK,
    UNTAGGED,
    WRITE_COMMAND,
    WRITE_DONE,
    Pdu,
    padding,
    unit_number,
)
from iscsitools.probes.sites import (
    DATA_SEND,
    SCSI_COMMAND,
    SCSI_RESPONSE,
    XFER_DONE,
    XFER_READ,
    XFER_START,
    XFER_WRITE,
    ConnectionInfo,
    Probes,
)
from iscsitools.probes.table import Probe
from iscsitools.scsi.itl import ItlNexus

if TYPE_CHECKING:
    from iscsitools.iscsi.commands import Command
    from iscsitools.iscsi.discovery import TextResponder
    from iscsitools.iscsi.handlers import Handlers
    from iscsitools.iscsi.requests import TextExchange
    from iscsitools.iscsi.session import Session

SECOND: Final = 1_000_000_000
DIRECT_MINIMUM: Final = 8 << 10
"""A data segment of this size or more is received where it belongs, not into the receive buffer first."""
FAST_MAXIMUM: Final = 512 << 10
"""Bytes of the largest READ that the fast path answers; half a chunk, so that two are under way."""
FILE_MINIMUM: Final = 256 << 10
"""Bytes from which on a READ is sent from the backstore's file, where that can be done, and not copied twice.

Measured: 77 us instead of 92 for 256 KiB; for 64 KiB it takes twice as long as the copies.
"""
OUTPUT_LIMIT: Final = 4 << 20
"""Bytes of unsent output above which a connection's input waits."""
_segment: Final = struct.Struct(">4xI").unpack_from
_MOST_FORMS: Final = 64
_SERIAL_LIMIT: Final = SERIAL_MASK - RECEIVE_SIZE // BHS_LENGTH
"""The fast path serves no numbers from here on, so that none of them begins anew within one receive buffer."""
_Form = tuple[bool, int, int, ItlNexus | None]
"""Of commands with one form: whether they write, their data segment, the most bytes to serve at once, and the unit."""


@dataclass(frozen=True, slots=True)
class Timers:
    """Timers in nanoseconds; 0 switches one off.

    ``login``: from the connection to full feature phase. ``nop_interval``: of silence, after which the initiator is
    asked. ``nop_timeout``: for its answer.
    """

    login: int = 30 * SECOND
    nop_interval: int = 30 * SECOND
    nop_timeout: int = 30 * SECOND


@dataclass(slots=True)
class _Arriving:
    """A PDU whose data segment is being received into ``data``; ``trailer`` bytes of padding and digest follow."""

    bhs: bytes
    ahs: bytes
    data: memoryview
    trailer: int
    fired: bool
    owner: Command | None


class Connection:
    """One TCP connection of one initiator. Not thread-safe: everything happens on the event loop's thread."""

    def __init__(
        self, info: ConnectionInfo, buffers: Buffers, probes: Probes, handlers: Handlers, now: int,
        timers: Timers, wake: Callable[[Connection], None],
    ) -> None:  # fmt: skip
        """Begin in the login phase.

        ``handlers``: who takes the PDUs off the fast path. ``wake``: called when an answer is ready that no received
        byte caused, so that the loop sends it.
        """
        self.info = info
        self.probes = probes
        self.buffers = buffers
        self.out = Output(buffers, info, probes)
        self.session: Session | None = None
        self.cid = 0
        self.close_reason = ""
        self.stalled = False
        self.statsn = 0
        self.commands: dict[int, Command] = {}
        """Tasks off the fast path, by ITT."""
        self.text: TextExchange | None = None
        self.responder: TextResponder | None = None
        self.parameters = Parameters()
        """What this connection's login agreed to; what belongs to the session is in ``session.parameters``."""
        self.transfer_fired = -1
        """ITT of the write whose immediate data has had its xfer-start and xfer-done, before it became a task."""
        self.max_receive = 8192
        self.max_send = 8192
        self.read_bytes = 0
        """Data that commands have read; :attr:`written_bytes`: written. Kept for the list of sessions."""
        self.written_bytes = 0
        self.opened = now
        self.wake = wake
        self._handlers = handlers
        self._timers = timers
        self._header_digest = False
        self._data_digest = False
        self._largest_read = 0
        self._largest_immediate = 0
        self._stash = b""
        self._whole = [buffers.receive_view]
        self._direct: memoryview | None = None
        self._arriving: _Arriving | None = None
        self._forms: dict[bytes, _Form] = {}
        self._heard = now
        self._pinged = 0
        self._ttt = 0

    def next_ttt(self) -> int:
        """A Target Transfer Tag that is not in use: they go round all 32 bits but the reserved one."""
        self._ttt = (self._ttt + 1) % RESERVED_TAG
        return self._ttt

    # -- bytes in

    def get_buffers(self) -> list[memoryview]:
        """Where the next bytes go, in this order; follow with :meth:`received`, even when none came."""
        view = self.buffers.receive_view
        if self._direct is None and not self._stash:
            return self._whole
        if self._direct is not None:
            # Little behind it: the next long segment then goes to its place as well, and is not copied.
            return [self._direct, view[:DIRECT_MINIMUM]]
        stash = self._stash
        fill = len(stash)
        view[:fill] = stash
        return [view[fill:]]

    def received(self, count: int, now: int) -> None:
        """Take ``count`` bytes that were put into :meth:`get_buffers`. ``now``: monotonic nanoseconds."""
        if not count:
            return
        self._heard = now
        direct = self._direct
        if direct is not None:
            missing = len(direct)
            if count < missing:
                self._direct = direct[count:]
                return
            self._direct = None
            end = count - missing
        else:
            end = len(self._stash) + count
            self._stash = b""
        self._process(end, now)

    def resume(self, now: int) -> None:
        """Go on with the input that waited for output to be sent (:attr:`stalled`)."""
        self.stalled = False
        end = len(self._stash)
        self.buffers.receive_view[:end] = self._stash
        self._stash = b""
        self._process(end, now)

    def _process(self, end: int, now: int) -> None:
        pos = 0
        if self._arriving is not None:
            pos = self._arrived(end, now)
        if pos >= 0 and not self.close_reason:
            pos = self._begin_long(pos, end, now) if self._long_begins(pos, end) else self._run(pos, end, now)
        if self.close_reason:
            self._stash = b""
            self._direct = self._arriving = None
        elif self._direct is None and pos < end:
            self._stash = bytes(self.buffers.receive_view[max(pos, 0) : end])
        if not self.out.unsent():
            self.out.settle()

    def _long_begins(self, pos: int, end: int) -> bool:
        """Whether there is only the beginning of a long PDU, which the loop could do nothing with.

        Hot: measured, to enter the loop for nothing is a quarter of what a long write costs beside its copies.
        """
        have = end - pos
        session = self.session
        return (
            have >= BHS_LENGTH
            and _segment(self.buffers.receive, pos)[0] & 0xFFFFFF >= have
            and session is not None
            and session.full_feature
            and self.out.unsent() <= OUTPUT_LIMIT
        )

    def _begin_long(self, pos: int, end: int, now: int) -> int:
        """Take the beginning of a long PDU; returns where what is left of the receive buffer begins."""
        after = self._general(pos, end, now, False)
        return after if after >= 0 else pos

    def _run(self, pos: int, end: int, now: int) -> int:
        """Serve all whole PDUs of the receive buffer from ``pos`` to ``end``; returns where an unfinished one begins.

        Hot. Measured by benchmarks/engine.py: local names, one unpack, one pack and one gate for an I/O.
        """
        session = self.session
        if session is None or not session.full_feature:
            return self._slowly(pos, end, now)
        buf = self.buffers.receive
        view = self.buffers.receive_view
        out = self.out
        chunk = out.open_chunk()
        out_data, out_view, tail = chunk.data, chunk.view, out.tail
        probes = self.probes
        mask = probes.mask or False  # to test False itself costs a tenth of testing 0
        clock, all_of_read, all_of_write = probes.clock, probes.read, probes.write
        began = started = moved = 0
        info = self.info
        commands, forms = self.commands, self._forms
        exp, statsn, max_cmdsn = session.exp_cmdsn, self.statsn, session.max_cmdsn
        in_step = exp < _SERIAL_LIMIT and statsn < _SERIAL_LIMIT and max_cmdsn < _SERIAL_LIMIT and not session.held
        header_digest, data_digest = self._header_digest, self._data_digest
        digests = header_digest or data_digest
        head = BHS_LENGTH + DIGEST_LENGTH if header_digest else BHS_LENGTH
        full = CHUNK_SIZE - BHS_LENGTH - 2 * DIGEST_LENGTH
        unpack, pack = COMMAND.unpack_from, FAST_ANSWER.pack_into
        # What holds for the form of the last command, and for its length: most commands are like the one before.
        last_form, last_length, last_edtl = b"", 0, 0
        by_file = fired = False
        source = None
        read = written = 0
        while end - pos >= head:
            form, itt, edtl, cmdsn, operation, lba, length = unpack(buf, pos)
            if form != last_form:
                last_form, last_length = form, 0
                writes, segment, largest, itl = forms.get(form) or self._form(form)
                short = long = -1
                if itl is not None and in_step and (itl.fast_write if writes else itl.fast_read):
                    unit = itl.unit
                    store, block_size = unit.store, unit.block_size
                    short, long = (0x2A00, 0x8A00) if writes else (0x2800, 0x8800)
            if operation != short:
                if operation == long:
                    lba, length, _, control = LONG_CDB.unpack_from(buf, pos + 34)
                    length = length << 8 | control
                else:
                    length = 0
            if length != last_length or edtl != last_edtl:
                count = length >> 8
                if (
                    length
                    and not length & 0xFF
                    and edtl == count * block_size <= largest
                    and (not writes or edtl == segment)
                ):
                    last_length, last_edtl, last_lba = length, edtl, unit.blocks - count
                    by_file = edtl >= FILE_MINIMUM and not data_digest
                else:
                    length = 0
            if length and cmdsn == exp and lba <= last_lba and itt != RESERVED_TAG and itt not in commands:
                if not writes:
                    data = tail + head
                    done = data + edtl
                    if done > full:
                        self.stalled = True
                        break
                    if header_digest and not self._header_intact(pos, BHS_LENGTH):
                        pos = end
                        break
                    if mask:
                        if all_of_read:
                            began = clock()
                        else:
                            fired = True
                            self._fire_command(mask, unit.number, pos)
                    try:
                        if by_file:
                            source = store.try_range(lba * block_size, edtl)
                        answered = source or store.try_read_into(lba * block_size, out_view[data:done])
                    except BaseException:
                        answered = False  # the slow path meets it again, and makes sense data of it
                    if answered:
                        pos += head
                        exp += 1
                        max_cmdsn += 1
                        pack(out_data, tail, READ_DONE, edtl, itt, RESERVED_TAG, statsn, exp, max_cmdsn)
                        statsn += 1
                        if digests:
                            done = self._add_digests(out_view, tail, data, done)
                        if mask:
                            fired = False
                            if all_of_read:
                                address = chunk.address + data
                                all_of_read(began, info, unit.number, operation, itt, address, edtl,
                                            buf, pos - head, out_data, tail)  # fmt: skip
                                if mask & XFER_DONE:
                                    out.mark(done, unit.number, itt, address, 0, edtl)
                            else:
                                self._fire_read(mask, unit.number, itt, edtl, tail, data, done)
                        tail = done
                        read += edtl
                        if source:
                            tail = out.tail = data
                            out.put_file(source)
                            source = None
                            if out.unsent() > OUTPUT_LIMIT:
                                self.stalled = True
                                break
                        continue
                else:
                    data = pos + head
                    done = data + edtl
                    after = done + DIGEST_LENGTH if data_digest else done
                    if after <= end and tail <= full:
                        if header_digest and not self._header_intact(pos, BHS_LENGTH):
                            pos = end
                            break
                        if not data_digest or buf[done:after] == crc32c_wire(view[data:done]):
                            if mask:
                                if all_of_write:
                                    began, started, moved = clock(), clock(), clock()
                                else:
                                    fired = True
                                    self._fire_command(mask, unit.number, pos)
                                    self._fire_write(mask, unit.number, itt, data, edtl)
                            try:
                                answered = store.try_write(lba * block_size, view[data:done])
                            except BaseException:
                                answered = False
                            if answered:
                                begin, pos = pos, after
                                exp += 1
                                max_cmdsn += 1
                                pack(out_data, tail, WRITE_DONE, 0, itt, 0, statsn, exp, max_cmdsn)
                                statsn += 1
                                if mask:
                                    fired = False
                                    if all_of_write:
                                        all_of_write(began, started, moved, info, unit.number, operation, itt,
                                                     self.buffers.receive_address + data, edtl, buf, begin,
                                                     out_data, tail)  # fmt: skip
                                    else:
                                        self.transfer_fired = -1
                                        if mask & SCSI_RESPONSE:
                                            probes.pdu(7, info, unit.number, out_data, tail)
                                if header_digest:
                                    self._add_digests(out_view, tail, tail + head, tail + head)
                                tail += head
                                written += edtl
                                continue
            session.exp_cmdsn, self.statsn, out.tail = exp, statsn, tail
            if out.unsent() > OUTPUT_LIMIT:
                self.stalled = True
                break
            after = self._general(pos, end, now, fired)
            if after < 0 or self.close_reason or self._arriving is not None:
                self.read_bytes += read
                self.written_bytes += written
                return after if after >= 0 else pos
            pos = after
            chunk = out.open_chunk()
            out_data, out_view, tail = chunk.data, chunk.view, out.tail
            exp, statsn, max_cmdsn = session.exp_cmdsn, self.statsn, session.max_cmdsn
            in_step = exp < _SERIAL_LIMIT and statsn < _SERIAL_LIMIT and max_cmdsn < _SERIAL_LIMIT and not session.held
            mask, all_of_read, all_of_write = probes.mask or False, probes.read, probes.write
            last_form = b""
            self.transfer_fired = -1
            fired = False
        session.exp_cmdsn, self.statsn, out.tail = exp, statsn, tail
        self.read_bytes += read
        self.written_bytes += written
        return pos

    def _form(self, form: bytes) -> _Form:
        """What commands of a form (:data:`pdu.FORM`) are; remembered when the fast path may serve them."""
        first, segment, lun = FORM.unpack(form)
        writes = first | UNTAGGED == WRITE_COMMAND
        session = self.session
        itl = None
        if not writes and (segment or first | UNTAGGED != READ_COMMAND):
            pass  # not of a form that the fast path knows
        elif session is not None and session.device is not None and session.nexus is not None:
            itl = session.device.itl(session.nexus, unit_number(lun))
        found = (writes, segment, self._largest_immediate if writes else self._largest_read, itl)
        if itl is not None:
            if len(self._forms) >= _MOST_FORMS:
                self._forms.clear()
            self._forms[form] = found
        return found

    # -- probes of the fast path, only reached while somebody looks

    def _fire_command(self, mask: int, lun: int, pos: int) -> None:
        if mask & SCSI_COMMAND:
            buf = self.buffers.receive
            cdb = bytes(buf[pos + 32 : pos + (42 if buf[pos + 32] < 0x80 else 48)])
            self.probes.pdu(6, self.info, lun, buf, pos, cdb)

    def _fire_read(self, mask: int, lun: int, itt: int, length: int, tail: int, data: int, done: int) -> None:
        probes, info, out = self.probes, self.info, self.out
        chunk = out.open_chunk()
        address = chunk.address + data
        if mask & XFER_START:
            probes.xfer(Probe.XFER_START, info, lun, itt, RESERVED_TAG, address, 0, length, XFER_READ)
        if mask & DATA_SEND:
            probes.pdu(8, info, lun, chunk.data, tail)
        if mask & XFER_DONE:
            out.mark(done, lun, itt, address, 0, length)

    def _fire_write(self, mask: int, lun: int, itt: int, data: int, length: int) -> None:
        self.transfer_fired = itt
        probes, info = self.probes, self.info
        address = self.buffers.receive_address + data
        if mask & XFER_START:
            probes.xfer(Probe.XFER_START, info, lun, itt, RESERVED_TAG, address, 0, length, XFER_WRITE)
        if mask & XFER_DONE:
            probes.xfer(Probe.XFER_DONE, info, lun, itt, RESERVED_TAG, address, 0, length, XFER_WRITE)

    def _add_digests(self, view: memoryview, header: int, data: int, done: int) -> int:
        """Put the digests of the PDU at ``header`` into the output; returns where it ends."""
        if self._header_digest:
            view[header + BHS_LENGTH : data] = crc32c_wire(view[header : header + BHS_LENGTH])
        if self._data_digest and done > data:
            view[done : done + DIGEST_LENGTH] = crc32c_wire(view[data:done])
            done += DIGEST_LENGTH
        return done

    # -- one PDU at a time

    def _slowly(self, pos: int, end: int, now: int) -> int:
        """Login phase: every PDU goes to the handlers."""
        while not self.close_reason:
            after = self._general(pos, end, now, False)
            if after < 0 or self._arriving is not None:
                return pos if after < 0 else after
            pos = after
            if self.session is not None and self.session.full_feature:
                return self._run(pos, end, now)
        return end

    def _general(self, pos: int, end: int, now: int, fired: bool) -> int:
        """Take the PDU at ``pos``: returns where the next one begins, or -1 when this one is not all there.

        ``fired``: its receive probe has fired. A PDU with a long data segment that is not all there becomes
        ``_arriving``: what is missing of its data is received straight into its place (``_direct``), and what is
        returned is where its padding and digest begin. So no PDU needs more of the receive buffer than its header.
        """
        if end - pos < BHS_LENGTH:
            return -1
        view = self.buffers.receive_view
        bhs = bytes(view[pos : pos + BHS_LENGTH])
        ahs_length = bhs[4] * 4
        head = BHS_LENGTH + ahs_length + (DIGEST_LENGTH if self._header_digest else 0)
        length = int.from_bytes(bhs[5:8], "big")
        if length > self.max_receive:
            self._handlers.oversized(self, Pdu(bhs, b"", memoryview(b""), now))
            return end
        if end - pos < head:
            return -1
        if self._header_digest and not self._header_intact(pos, BHS_LENGTH + ahs_length):
            return end
        ahs = bytes(view[pos + BHS_LENGTH : pos + BHS_LENGTH + ahs_length])
        data = pos + head
        trailer = padding(length) + (DIGEST_LENGTH if self._data_digest and length else 0)
        after = data + length + trailer
        if after <= end:
            self._deliver(Pdu(bhs, ahs, view[data : data + length], now), view[data + length : after], fired)
            return after
        if length < DIRECT_MINIMUM:
            return -1
        place, owner = self._handlers.place_for(self, Pdu(bhs, ahs, memoryview(b""), now), length)
        have = min(end - data, length)
        place[:have] = view[data : data + have]
        self._direct = place[have:] if have < length else None
        self._arriving = _Arriving(bhs, ahs, place, trailer, fired, owner)
        return data + have

    def _arrived(self, end: int, now: int) -> int:
        """Finish a PDU whose data segment was received in place; returns where the next begins, or -1."""
        arriving = self._arriving
        if arriving is None or end < arriving.trailer:
            return -1
        self._arriving = None
        pdu = Pdu(arriving.bhs, arriving.ahs, arriving.data, now)
        self._deliver(pdu, self.buffers.receive_view[: arriving.trailer], arriving.fired)
        return arriving.trailer

    def _deliver(self, pdu: Pdu, trailer: memoryview, fired: bool) -> None:
        if self._data_digest and len(pdu.data):
            pad = bytes(trailer[:-DIGEST_LENGTH])
            if crc32c_wire(pdu.data, pad) != bytes(trailer[-DIGEST_LENGTH:]):
                self._handlers.data_digest_failed(self, pdu)
                return
        if pdu.bhs[0] == 0x01 and self._write_at_once(pdu):
            return
        self._handlers.dispatch(self, pdu, fired)

    def _write_at_once(self, pdu: Pdu) -> bool:
        """Answer a WRITE whose long immediate data was received in place, as the fast path does.

        Hot: measured, the task's way round costs 60 us more for 256 KiB.
        """
        session = self.session
        place = pdu.data.obj
        if session is None or self.probes.mask or type(place) is not bytearray or place is self.buffers.receive:
            return False
        form, itt, edtl, cmdsn, operation, lba, length = COMMAND.unpack(pdu.bhs)
        writes, segment, largest, itl = self._forms.get(form) or self._form(form)
        if itl is None or not writes or not itl.fast_write:
            return False
        if operation == 0x8A00:
            lba, length, _, control = LONG_CDB.unpack_from(pdu.bhs, 34)
            length = length << 8 | control
        elif operation != 0x2A00:
            return False
        unit, count = itl.unit, length >> 8
        if length & 0xFF or edtl != segment or edtl != count * unit.block_size or edtl > largest:
            return False
        if session.held or cmdsn != session.exp_cmdsn or lba + count > unit.blocks:
            return False
        if itt == RESERVED_TAG or itt in self.commands:
            return False
        try:
            if not unit.store.try_write(lba * unit.block_size, pdu.data):
                return False
        except BaseException:
            return False  # the task's way meets it again, and makes sense data of it
        session.advance()
        self.out.put(FAST_ANSWER.pack(WRITE_DONE, 0, itt, 0, self.statsn, session.exp_cmdsn, session.max_cmdsn))
        self.statsn = self.statsn + 1 & SERIAL_MASK
        self.written_bytes += edtl
        self.buffers.give(place)
        return True

    def _header_intact(self, pos: int, length: int) -> bool:
        """Whether the header digest is right; if not, the connection closes: ERL 0 (RFC 7143 7.8)."""
        view = self.buffers.receive_view
        after = pos + length
        if bytes(view[after : after + DIGEST_LENGTH]) == crc32c_wire(view[pos:after]):
            return True
        self.close("header digest error")
        return False

    @property
    def in_place(self) -> bool:
        """A long data segment is being received into its place."""
        return self._direct is not None

    @property
    def arriving_owner(self) -> Command | None:
        """The command into whose buffer bytes are being received just now."""
        return self._arriving.owner if self._arriving is not None else None

    def start_full_feature(self, session: Session, header_digest: bool, data_digest: bool) -> None:
        """Leave the login phase with what was negotiated; digests hold from the next PDU on (RFC 7143 6.2)."""
        self.session = session
        self._header_digest = header_digest
        self._data_digest = data_digest
        self.set_max_send(self.max_send)
        self.out.start_digests(header_digest, data_digest)

    def set_max_send(self, length: int) -> None:
        """The initiator takes data segments of at most ``length`` bytes (RFC 7143 13.12)."""
        self.max_send = length
        if self.session is not None:
            parameters = self.session.parameters
            self._largest_read = min(length, parameters.max_burst_length, FAST_MAXIMUM)
            self._largest_immediate = parameters.first_burst_length if parameters.immediate_data else 0
            self._forms.clear()

    # -- bytes out

    def output(self) -> list[memoryview | FileRange]:
        """The bytes to send next, in order (at most 512 pieces); follow with :meth:`sent`."""
        return self.out.pieces()

    def sent(self, count: int, now: int) -> None:
        """``count`` bytes of :meth:`output` were accepted by the socket."""
        self.out.sent(count)
        if self.stalled or self.out.unsent():
            # Its answer to a ping may lie behind what waits here; that it takes our output is its sign of life.
            self._heard = now

    # -- time, and the end

    @property
    def deadline(self) -> int:
        """When :meth:`on_time` wants to be called, in monotonic nanoseconds; 0: never."""
        timers = self._timers
        if self.session is None or not self.session.full_feature:
            return self.opened + timers.login if timers.login else 0
        if not timers.nop_interval:
            return 0
        if self._pinged > self._heard:
            return self._pinged + timers.nop_timeout if timers.nop_timeout else 0
        return self._heard + timers.nop_interval

    def on_time(self, now: int) -> None:
        """If the deadline has passed, ask a silent initiator (RFC 7143 11.18, 11.19), or give it up."""
        if not 0 < self.deadline <= now:
            return
        session = self.session
        if session is None or not session.full_feature:
            self.close("login took too long")
        elif self._pinged > self._heard:
            self.close("no answer to NOP-In")
        else:
            self._pinged = now
            self._handlers.ping(self)

    def close(self, reason: str) -> None:
        """End this connection once its output is sent; the first reason given is kept."""
        self.close_reason = self.close_reason or reason
        self.stalled = False

    def closed(self) -> None:
        """The transport is gone: end this connection's tasks and transfers. Called once, by the loop."""
        self.close("connection closed by the initiator")
        self._direct = self._arriving = None
        self._handlers.connection_lost(self)
        self.out.abandon()


assert RECEIVE_SIZE >= 2 * DIRECT_MINIMUM
