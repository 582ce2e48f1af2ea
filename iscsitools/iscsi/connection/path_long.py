"""READs that are answered by several Data-Ins, and WRITEs whose data was received where it stays: the long ones.

Here a command has a call of its own, which its length pays for; the loop for the others is
:meth:`~iscsitools.iscsi.connection.datapath.DataPath.consume`.
"""

from __future__ import annotations

from iscsitools.backstores.base import Backstore
from iscsitools.iscsi.connection.memory import CHUNK_SIZE
from iscsitools.iscsi.connection.path_events import PathEvents
from iscsitools.iscsi.connection.stops import ANSWERED, NOT_HERE
from iscsitools.iscsi.connection.transfer_cdb import other_range
from iscsitools.scsi.core.gate import READ_BYTES, READS, WRITES, WRITTEN_BYTES, Gate
from iscsitools.wire.rfc7143 import (
    ANSWER,
    ATTRIBUTE_BITS,
    BHS_LENGTH,
    COMMAND,
    DIGEST_LENGTH,
    FAST_ANSWER,
    ORDERED,
    RESERVED_TAG,
    SERIAL_MASK,
    WRITE_DONE,
)


class LongTransfers(PathEvents):
    """Answers them, by the state of the path."""

    __slots__ = ()

    def _count_moved(self, gate: Gate, writes: bool, commands: int, moved: int) -> None:
        """Count READs or WRITEs of a unit that have moved so many bytes."""
        words = gate.words
        if writes:
            words[WRITES] += commands
            words[WRITTEN_BYTES] += moved
            self.written_bytes += moved
        else:
            words[READS] += commands
            words[READ_BYTES] += moved
            self.read_bytes += moved

    def _read_in_parts(
        self, store: Backstore, offset: int, length: int, itt: int, tail: int, statsn: int, exp_cmdsn: int
    ) -> int:
        """Answer a READ by several Data-Ins (RFC 7143 11.7): where the output ends, ``tail``: it cannot; -1: no room.

        The data is read in one go, behind room for all headers, and each part is moved to its place once the one
        before it has left that.
        """
        most, burst = self._max_send, self._max_burst
        chunk = self.chunk
        assert chunk is not None
        view = chunk.view
        data = tail + BHS_LENGTH * (length // most + length // burst + 2)
        if data + length > CHUNK_SIZE - BHS_LENGTH:
            return -1
        try:
            if not store.try_read_into(offset, view[data : data + length]):
                return tail
        except BaseException:
            return tail  # the task's way meets it again, and makes sense data of it
        max_cmdsn = exp_cmdsn + self.window - 1
        at = sent = number = 0
        while sent < length:
            part = min(most, length - sent, burst - sent % burst)
            end = sent + part
            last = end == length
            flags = 0x81 if last else 0x80 if end % burst == 0 else 0
            ANSWER.pack_into(
                chunk.data, tail + at, 0x25, flags, 0, 0, part, 0, itt, RESERVED_TAG, statsn if last else 0, exp_cmdsn,
                max_cmdsn, number, sent, 0,
            )  # fmt: skip
            at += BHS_LENGTH
            view[tail + at : tail + at + part] = view[data + sent : data + end]
            at += part
            sent, number = end, number + 1
        return tail + at

    def write_in_place(self, bhs: bytes, data: memoryview, address: int) -> int:
        """Answer a WRITE whose immediate data was received elsewhere, as ``consume`` does: ANSWERED.

        NOT_HERE: it cannot. BEGUN, of a path that takes data-out: more is to come, and the buffer is in its hands.

        Its digests are right. ``address``: of the data, for the xfer probes. Hot: measured, the task's way round costs
        60 us more for 256 KiB.
        """
        form, itt, edtl, cmdsn, operation, lba, length = COMMAND.unpack(bhs)
        writes, segment, largest, gate = self._forms.get(form) or self._form(form)
        if gate is None or not writes or not gate.write_open or (bhs[1] & ATTRIBUTE_BITS == ORDERED and gate.busy):
            return NOT_HERE
        if operation != 0x2A00:
            lba, length = other_range(bhs, 0, 0x2A00, gate.store, self.probes.mask)
        count = length >> 8
        if not length or length & 0xFF or edtl != segment or edtl != count * gate.block_size or edtl > largest:
            return NOT_HERE
        if not self.in_order or cmdsn != self.exp_cmdsn or lba + count > gate.blocks or self.exp_cmdsn == SERIAL_MASK:
            return NOT_HERE
        if itt == RESERVED_TAG or itt in self.tags or self.tail > CHUNK_SIZE - BHS_LENGTH - DIGEST_LENGTH:
            return NOT_HERE
        probes = self.probes
        log = probes.log(self.info) if probes.log is not None else None
        if probes.mask and probes.write is None and log is None:
            return NOT_HERE
        began, started, moved = (probes.clock(), probes.clock(), probes.clock()) if probes.mask else (0, 0, 0)
        try:
            if not gate.store.try_write(lba * gate.block_size, data):
                return NOT_HERE
        except BaseException:
            return NOT_HERE  # the task's way meets it again, and makes sense data of it
        chunk, tail = self.chunk, self.tail
        assert chunk is not None
        self.exp_cmdsn += 1
        self.commands += 1
        self._count_moved(gate, True, 1, edtl)
        FAST_ANSWER.pack_into(chunk.data, tail, WRITE_DONE, itt, 0, self.next_statsn(), self.exp_cmdsn, self.max_cmdsn)
        if log is not None and probes.logged is not None:
            log[0].append(probes.clock())
            log[1].extend(bhs)
            probes.logged(began, self.statsn - 1 & SERIAL_MASK, RESERVED_TAG)
        elif probes.mask and probes.write is not None:
            probes.write(
                began, started, moved, self.info, gate.number, operation, itt, address, edtl, bhs, 0, chunk.data, tail
            )
        self.tail = tail + BHS_LENGTH
        if self.header_digest:
            self.tail = self._add_digests(
                chunk.view, tail, tail + BHS_LENGTH + DIGEST_LENGTH, self.tail + DIGEST_LENGTH
            )
        return ANSWERED
