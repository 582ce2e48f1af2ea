"""READ and WRITE of the common forms, answered while the received bytes are parsed: the data path.

It bends the style for that: one long loop of local names. All PDUs of one readable event are parsed in place, in one
go; a command that is like the one before it costs one unpack, a few comparisons, one call of the backstore and one
pack, and no object of its own. The *form* of a command is what those that are served alike have in common: opcode,
flags, length of the data segment, LUN. What is of no known form, or finds its unit's gate closed
(:class:`~iscsitools.scsi.core.itl_nexus.ItlNexus`), goes to :meth:`Connection.general`, which takes one PDU at a time.

Serial numbers (CmdSN, StatSN) only count up here: near their end, where they begin anew, all goes the other way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from iscsitools.iscsi.connection.digest import crc32c_wire
from iscsitools.iscsi.connection.memory import CHUNK_SIZE, RECEIVE_SIZE
from iscsitools.iscsi.connection.output import OUTPUT_LIMIT
from iscsitools.probes.lun import unit_number
from iscsitools.probes.sites import (
    DATA_SEND,
    SCSI_COMMAND,
    SCSI_RESPONSE,
    XFER_DONE,
    XFER_READ,
    XFER_START,
    XFER_WRITE,
)
from iscsitools.probes.table import Probe
from iscsitools.scsi.core.itl_nexus import ItlNexus
from iscsitools.wire.rfc7143 import (
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
)

if TYPE_CHECKING:
    from iscsitools.iscsi.connection.connection import Connection

FAST_MAXIMUM: Final = 512 << 10
"""Bytes of the largest READ that is answered here; half a chunk, so that two are under way."""
FILE_MINIMUM: Final = 256 << 10
"""Bytes from which on a READ is sent from the backstore's file, where that can be done, and not copied twice.

Measured: 77 us instead of 92 for 256 KiB; for 64 KiB it takes twice as long as the copies.
"""
_MOST_FORMS: Final = 64
_SERIAL_LIMIT: Final = SERIAL_MASK - RECEIVE_SIZE // BHS_LENGTH
"""No numbers are served from here on, so that none of them begins anew within one receive buffer."""
Form = tuple[bool, int, int, ItlNexus | None]
"""Of commands with one form: whether they write, their data segment, the most bytes to serve at once, and the unit."""


def run(conn: Connection, pos: int, end: int, now: int) -> int:
    """Serve all whole PDUs of the receive buffer from ``pos`` to ``end``; returns where an unfinished one begins.

    The connection is in full feature phase.

    Hot. Measured by benchmarks/engine.py: local names, one unpack, one pack and one gate for an I/O.
    """
    session = conn.session
    assert session is not None
    buf = conn.buffers.receive
    view = conn.buffers.receive_view
    out = conn.out
    chunk = out.open_chunk()
    out_data, out_view, tail = chunk.data, chunk.view, out.tail
    probes = conn.probes
    mask = probes.mask or False  # to test False itself costs a tenth of testing 0
    clock, all_of_read, all_of_write = probes.clock, probes.read, probes.write
    began = started = moved = 0
    info = conn.info
    commands, forms = conn.commands, conn.forms
    exp, statsn, max_cmdsn = session.exp_cmdsn, conn.statsn, session.max_cmdsn
    in_step = exp < _SERIAL_LIMIT and statsn < _SERIAL_LIMIT and max_cmdsn < _SERIAL_LIMIT and not session.held
    header_digest, data_digest = conn.header_digest, conn.data_digest
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
            writes, segment, largest, itl = forms.get(form) or _form(conn, form)
            short = long = -1
            if itl is not None and in_step and (itl.gate.write_open if writes else itl.gate.read_open):
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
                    conn.stalled = True
                    break
                if header_digest and not conn.header_intact(pos, BHS_LENGTH):
                    pos = end
                    break
                if mask:
                    if all_of_read:
                        began = clock()
                    else:
                        fired = True
                        _fire_command(conn, mask, unit.number, pos)
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
                        done = _add_digests(conn, out_view, tail, data, done)
                    if mask:
                        fired = False
                        if all_of_read:
                            address = chunk.address + data
                            all_of_read(began, info, unit.number, operation, itt, address, edtl,
                                        buf, pos - head, out_data, tail)  # fmt: skip
                            if mask & XFER_DONE:
                                out.mark(done, unit.number, itt, address, 0, edtl)
                        else:
                            _fire_read(conn, mask, unit.number, itt, edtl, tail, data, done)
                    tail = done
                    read += edtl
                    if source:
                        tail = out.tail = data
                        out.put_file(source)
                        source = None
                        if out.unsent() > OUTPUT_LIMIT:
                            conn.stalled = True
                            break
                    continue
            else:
                data = pos + head
                done = data + edtl
                after = done + DIGEST_LENGTH if data_digest else done
                if after <= end and tail <= full:
                    if header_digest and not conn.header_intact(pos, BHS_LENGTH):
                        pos = end
                        break
                    if not data_digest or buf[done:after] == crc32c_wire(view[data:done]):
                        if mask:
                            if all_of_write:
                                began, started, moved = clock(), clock(), clock()
                            else:
                                fired = True
                                _fire_command(conn, mask, unit.number, pos)
                                _fire_write(conn, mask, unit.number, itt, data, edtl)
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
                                                 conn.buffers.receive_address + data, edtl, buf, begin,
                                                 out_data, tail)  # fmt: skip
                                else:
                                    conn.transfer_fired = -1
                                    if mask & SCSI_RESPONSE:
                                        probes.pdu(7, info, unit.number, out_data, tail)
                            if header_digest:
                                _add_digests(conn, out_view, tail, tail + head, tail + head)
                            tail += head
                            written += edtl
                            continue
        session.exp_cmdsn, conn.statsn, out.tail = exp, statsn, tail
        if out.unsent() > OUTPUT_LIMIT:
            conn.stalled = True
            break
        after = conn.general(pos, end, now, fired)
        if after < 0 or conn.close_reason or conn.arriving:
            conn.read_bytes += read
            conn.written_bytes += written
            return after if after >= 0 else pos
        pos = after
        chunk = out.open_chunk()
        out_data, out_view, tail = chunk.data, chunk.view, out.tail
        exp, statsn, max_cmdsn = session.exp_cmdsn, conn.statsn, session.max_cmdsn
        in_step = exp < _SERIAL_LIMIT and statsn < _SERIAL_LIMIT and max_cmdsn < _SERIAL_LIMIT and not session.held
        mask, all_of_read, all_of_write = probes.mask or False, probes.read, probes.write
        last_form = b""
        conn.transfer_fired = -1
        fired = False
    session.exp_cmdsn, conn.statsn, out.tail = exp, statsn, tail
    conn.read_bytes += read
    conn.written_bytes += written
    return pos


def _form(conn: Connection, form: bytes) -> Form:
    """What commands of a form (``wire.rfc7143.FORM``) are; remembered when it is one that is served here."""
    first, segment, lun = FORM.unpack(form)
    writes = first | UNTAGGED == WRITE_COMMAND
    session = conn.session
    if session is None or session.device is None or session.nexus is None:
        return writes, segment, 0, None
    if not writes and (segment or first | UNTAGGED != READ_COMMAND):
        return writes, segment, 0, None
    agreed = session.parameters
    largest = min(conn.max_send, agreed.max_burst_length, FAST_MAXIMUM)
    if writes:
        largest = agreed.first_burst_length if agreed.immediate_data else 0
    itl = session.device.itl(session.nexus, unit_number(lun))
    found = (writes, segment, largest, itl)
    if itl is not None:
        session.nexus.used.add(itl.unit.number)
        if len(conn.forms) >= _MOST_FORMS:
            conn.forms.clear()
        conn.forms[form] = found
    return found


def _fire_command(conn: Connection, mask: int, lun: int, pos: int) -> None:
    if mask & SCSI_COMMAND:
        buf = conn.buffers.receive
        cdb = bytes(buf[pos + 32 : pos + (42 if buf[pos + 32] < 0x80 else 48)])
        conn.probes.pdu(6, conn.info, lun, buf, pos, cdb)


def _fire_read(conn: Connection, mask: int, lun: int, itt: int, length: int, tail: int, data: int, done: int) -> None:
    probes, info, out = conn.probes, conn.info, conn.out
    chunk = out.open_chunk()
    address = chunk.address + data
    if mask & XFER_START:
        probes.xfer(Probe.XFER_START, info, lun, itt, RESERVED_TAG, address, 0, length, XFER_READ)
    if mask & DATA_SEND:
        probes.pdu(8, info, lun, chunk.data, tail)
    if mask & XFER_DONE:
        out.mark(done, lun, itt, address, 0, length)


def _fire_write(conn: Connection, mask: int, lun: int, itt: int, data: int, length: int) -> None:
    conn.transfer_fired = itt
    probes, info = conn.probes, conn.info
    address = conn.buffers.receive_address + data
    if mask & XFER_START:
        probes.xfer(Probe.XFER_START, info, lun, itt, RESERVED_TAG, address, 0, length, XFER_WRITE)
    if mask & XFER_DONE:
        probes.xfer(Probe.XFER_DONE, info, lun, itt, RESERVED_TAG, address, 0, length, XFER_WRITE)


def _add_digests(conn: Connection, view: memoryview, header: int, data: int, done: int) -> int:
    """Put the digests of the PDU at ``header`` into the output; returns where it ends."""
    if conn.header_digest:
        view[header + BHS_LENGTH : data] = crc32c_wire(view[header : header + BHS_LENGTH])
    if conn.data_digest and done > data:
        view[done : done + DIGEST_LENGTH] = crc32c_wire(view[data:done])
        done += DIGEST_LENGTH
    return done


def write_at_once(conn: Connection, pdu: Pdu) -> bool:
    """Answer a WRITE whose long immediate data was received in place, as the fast path does.

    Hot: measured, the task's way round costs 60 us more for 256 KiB.
    """
    session = conn.session
    place = pdu.data.obj
    if session is None or conn.probes.mask or type(place) is not bytearray or place is conn.buffers.receive:
        return False
    form, itt, edtl, cmdsn, operation, lba, length = COMMAND.unpack(pdu.bhs)
    writes, segment, largest, itl = conn.forms.get(form) or _form(conn, form)
    if itl is None or not writes or not itl.gate.write_open:
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
    if itt == RESERVED_TAG or itt in conn.commands:
        return False
    try:
        if not unit.store.try_write(lba * unit.block_size, pdu.data):
            return False
    except BaseException:
        return False  # the task's way meets it again, and makes sense data of it
    session.advance()
    session.taken += 1
    conn.out.put(FAST_ANSWER.pack(WRITE_DONE, 0, itt, 0, conn.statsn, session.exp_cmdsn, session.max_cmdsn))
    conn.statsn = conn.statsn + 1 & SERIAL_MASK
    conn.written_bytes += edtl
    conn.buffers.give(place)
    return True
