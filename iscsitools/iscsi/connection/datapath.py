"""READ and WRITE of the common forms, answered while the received bytes are parsed: the data path.

A :class:`DataPath` holds all that is hot of one connection. Framing gives it received bytes and a budget, and it says
how far it came and why it stopped; nothing else is asked and nobody is called but the backstore and the probes. So it
can have a twin outside Python: what it needs of the SCSI side are the plain words of a
:class:`~iscsitools.scsi.core.gate.Gate`, opened for a LUN by :meth:`DataPath.open_gate`.

It bends the style for speed: one long loop of local names. A command that is like the one before it costs one unpack, a
few comparisons, one call of the backstore and one pack, and no object of its own. The *form* of a command is what those
that are served alike have in common: opcode, flags, length of the data segment, LUN. What is of no known form, or finds
its gate closed, is left to framing, one PDU at a time.

Serial numbers (CmdSN, StatSN) only count up here: near their end, where they begin anew, all goes the other way.
"""

from __future__ import annotations

from typing import Final

from iscsitools.iscsi.connection.digest import crc32c_wire
from iscsitools.iscsi.connection.memory import CHUNK_SIZE, RECEIVE_SIZE
from iscsitools.iscsi.connection.path_long import LongTransfers
from iscsitools.iscsi.connection.stops import (
    BUDGET,
    CLOSED,
    INCOMPLETE,
    OTHER,
    OUTPUT_FULL,
    Stop,
)
from iscsitools.iscsi.connection.transfer_cdb import other_range
from iscsitools.probes.firing import FIRED_COMMAND, FIRED_NOTHING, FIRED_TRANSFER, SCSI_RESPONSE, XFER_DONE
from iscsitools.probes.table import Probe
from iscsitools.wire.rfc7143 import (
    ANSWER_FORM,
    ATTRIBUTE_BITS,
    BHS_LENGTH,
    COMMAND,
    DIGEST_LENGTH,
    FAST_ANSWER,
    LONG_CDB,
    ORDERED,
    READ_DONE,
    RESERVED_TAG,
    SERIAL_MASK,
    WRITE_DONE,
)

_SERIAL_LIMIT: Final = SERIAL_MASK - RECEIVE_SIZE // BHS_LENGTH
"""No numbers are served from here on, so that none of them begins anew within one receive buffer."""
_RESPONSE_PROBE: Final = int(Probe.SCSI_RESPONSE)


class DataPath(LongTransfers):
    """Serves by the state of the path. Not thread-safe."""

    __slots__ = ()

    def consume(self, pos: int, end: int, budget: int) -> tuple[int, Stop]:
        """Serve the PDUs from ``pos`` to ``end`` of the receive buffer: where the next one begins, and why it stopped.

        ``budget``: bytes of output that this call may add. The first PDU may always be answered, however long. The
        chunk has to be open.

        Hot. Measured by benchmarks/instructions.py: local names, one unpack, one pack and one gate for an I/O.
        """
        buf = self.receive
        view = self.receive_view
        chunk, tail = self.chunk, self.tail
        assert chunk is not None
        out_data, out_view = chunk.data, chunk.view
        probes = self.probes
        mask = probes.mask or False  # to test False itself costs a tenth of testing 0
        clock, all_of_read, all_of_write = probes.clock, probes.read, probes.write
        began = started = moved = 0
        info = self.info
        log = probes.log(info) if probes.log is not None else None
        logged = probes.logged
        if log is not None:
            began = clock()
            answered_at, requests = log
            note = answered_at.append
        noted = pos  # up to here, the log has all BHSs
        data = read_end = read_tag = read_lun = read_length = 0
        tags, forms = self.tags, self._forms
        exp, statsn, max_cmdsn = self.exp_cmdsn, self.statsn, self.max_cmdsn
        in_step = self.in_order and exp < _SERIAL_LIMIT and statsn < _SERIAL_LIMIT and max_cmdsn < _SERIAL_LIMIT
        ahead = max_cmdsn - exp
        header_digest, data_digest = self.header_digest, self.data_digest
        digests = header_digest or data_digest
        head = BHS_LENGTH + DIGEST_LENGTH if header_digest else BHS_LENGTH
        # Output is the measure of the budget: a test for it is there anyway, because of the chunk's end.
        first, most = tail, CHUNK_SIZE - BHS_LENGTH - 2 * DIGEST_LENGTH
        full = min(most, tail + budget)
        unpack, pack = COMMAND.unpack_from, FAST_ANSWER.pack_into
        # What holds for the form of the last command, and for its length: most commands are like the one before.
        last_form, last_length, last_edtl, last_lba = b"", 0, 0, -1
        in_parts, answer = False, WRITE_DONE
        fired = FIRED_NOTHING
        # What the counters know already: all since the form changed went to one unit.
        # Commands of one length are counted at once; ``earlier``: the bytes of those before the length changed.
        counted = since = exp
        earlier = 0
        gate, writes = None, False
        stop = INCOMPLETE
        last = end - head
        while pos <= last:
            form, itt, edtl, cmdsn, operation, lba, length = unpack(buf, pos)
            if form != last_form:
                if exp != counted and gate is not None:
                    self._count_moved(gate, writes, exp - counted, earlier + (exp - since) * last_edtl)
                    counted = since = exp
                    earlier = 0
                last_form, last_length, last_lba = form, 0, -1
                writes, segment, largest, gate = forms.get(form) or self._form(form)
                short = long = -1
                if (
                    gate is not None
                    and in_step
                    and (gate.write_open if writes else gate.read_open)
                    and (form[1] & ATTRIBUTE_BITS != ORDERED or not gate.busy)
                ):
                    store, block_size, blocks, number = gate.store, gate.block_size, gate.blocks, gate.number
                    short, long = (0x2A00, 0x8A00) if writes else (0x2800, 0x8800)
            if operation != short:
                if operation == long:
                    lba, length, group, control = LONG_CDB.unpack_from(buf, pos + 34)
                    length = length << 8 | group | control
                elif short < 0:
                    length = 0
                else:
                    lba, length = other_range(buf, pos, short, store, mask)
            if length != last_length or edtl != last_edtl:
                count = length >> 8
                if (
                    length
                    and not length & 0xFF
                    and edtl == count * block_size <= largest
                    and (not writes or edtl == segment)
                ):
                    earlier += (exp - since) * last_edtl
                    since = exp
                    last_length, last_edtl, last_lba = length, edtl, blocks - count
                    in_parts = not writes and edtl > self._largest_read
                    if not writes:
                        answer = ANSWER_FORM.pack(READ_DONE, edtl)
                else:
                    last_lba = -1  # no LBA is good
            if cmdsn == exp and lba <= last_lba and itt != RESERVED_TAG and itt not in tags:
                if in_parts:
                    if not mask:
                        done = self._read_in_parts(store, lba * block_size, edtl, itt, tail, statsn, exp + 1)
                        if done > tail:
                            pos += head
                            exp += 1
                            statsn += 1
                            tail = done
                            if tail <= full:
                                continue
                            stop = BUDGET
                            break
                        if done < 0:
                            stop = OUTPUT_FULL
                            break
                elif not writes:
                    data = tail + head
                    done = data + edtl
                    if done > full and (tail != first or done > most):
                        stop = self._no_room(done)
                        break
                    if header_digest and not self.header_intact(pos, BHS_LENGTH):
                        stop = CLOSED
                        break
                    if mask:
                        if all_of_read:
                            began = clock()
                        elif log is None:
                            fired = FIRED_COMMAND
                            self._fire_command(mask, number, pos)
                    try:
                        answered = store.try_read_into(lba * block_size, out_view[data:done])
                    except BaseException:
                        answered = False  # the task's way meets it again, and makes sense data of it
                    if answered:
                        pos += head
                        exp += 1
                        pack(out_data, tail, answer, itt, RESERVED_TAG, statsn, exp, exp + ahead)
                        statsn += 1
                        if digests:
                            done = self._add_digests(out_view, tail, data, done)
                        if mask:
                            fired = FIRED_NOTHING
                            if log is not None:
                                note(clock())
                                read_end, read_tag = done, itt
                                read_lun, read_length = number, edtl
                                if header_digest:
                                    requests += view[noted : noted + BHS_LENGTH]
                                    noted = pos
                            elif all_of_read:
                                address = chunk.address + data
                                all_of_read(began, info, number, operation, itt, address, edtl,
                                            buf, pos - head, out_data, tail)  # fmt: skip
                                if mask & XFER_DONE:
                                    self._mark(done, number, itt, address, edtl)
                            else:
                                self._fire_read(mask, number, itt, edtl, tail, data, done)
                        tail = done
                        continue
                else:
                    data = pos + head
                    done = data + edtl
                    after = done + DIGEST_LENGTH if data_digest else done
                    if after > end:
                        break
                    if tail > full:
                        stop = self._no_room(tail)
                        break
                    if header_digest and not self.header_intact(pos, BHS_LENGTH):
                        stop = CLOSED
                        break
                    if not data_digest or buf[done:after] == crc32c_wire(view[data:done]):
                        if mask:
                            if all_of_write:
                                began, started, moved = clock(), clock(), clock()
                            elif log is None:
                                fired = FIRED_TRANSFER
                                self._fire_command(mask, number, pos)
                                self._fire_transfer(mask, number, itt, self._receive_address + data, edtl)
                        try:
                            answered = store.try_write(lba * block_size, view[data:done])
                        except BaseException:
                            answered = False
                        if answered:
                            exp += 1
                            pack(out_data, tail, WRITE_DONE, itt, 0, statsn, exp, exp + ahead)
                            statsn += 1
                            if mask:
                                fired = FIRED_NOTHING
                                if log is not None:
                                    note(clock())
                                    requests += view[noted : pos + BHS_LENGTH]
                                    noted = after
                                elif all_of_write:
                                    all_of_write(began, started, moved, info, number, operation, itt,
                                                 self._receive_address + data, edtl, buf, pos,
                                                 out_data, tail)  # fmt: skip
                                elif mask & SCSI_RESPONSE:
                                    probes.pdu(_RESPONSE_PROBE, info, number, out_data, tail)
                            if header_digest:
                                self._add_digests(out_view, tail, tail + head, tail + head)
                            pos = after
                            tail += head
                            continue
            stop = OTHER
            break
        if log is not None and logged is not None and exp != self.exp_cmdsn:
            requests += view[noted:pos]
            logged(began, self.statsn, read_tag if read_end else RESERVED_TAG)
            if read_end and mask & XFER_DONE:
                address = chunk.address + read_end - read_length
                self.marks.append((self.chunk_begin + read_end, read_lun, read_tag, address, 0, read_length))
        if exp != counted and gate is not None:
            self._count_moved(gate, writes, exp - counted, earlier + (exp - since) * last_edtl)
        self.commands += exp - self.exp_cmdsn
        self.exp_cmdsn, self.statsn, self.tail, self.fired = exp, statsn, tail, fired
        return pos, stop

    def _no_room(self, done: int) -> Stop:
        return OUTPUT_FULL if done > CHUNK_SIZE - BHS_LENGTH - 2 * DIGEST_LENGTH else BUDGET
