"""What goes around an answer of the data path: its digests, and its probes where each event fires by itself."""

from __future__ import annotations

from typing import Final

from iscsitools.iscsi.connection.digest import crc32c_wire
from iscsitools.iscsi.connection.path_state import PathState
from iscsitools.probes.firing import DATA_SEND, SCSI_COMMAND, XFER_DONE, XFER_READ, XFER_START, XFER_WRITE
from iscsitools.probes.table import Probe
from iscsitools.wire.rfc7143 import BHS_LENGTH, DIGEST_LENGTH, RESERVED_TAG

_COMMAND_PROBE: Final = int(Probe.SCSI_COMMAND)
_DATA_PROBE: Final = int(Probe.DATA_SEND)
_START_PROBE: Final = int(Probe.XFER_START)
_DONE_PROBE: Final = int(Probe.XFER_DONE)


class PathEvents(PathState):
    """Digests and events, by the state of the path."""

    __slots__ = ()

    # -- digests

    def header_intact(self, pos: int, length: int) -> bool:
        """Whether the digest behind ``length`` bytes of header at ``pos`` is right."""
        after = pos + length
        return self.receive[after : after + DIGEST_LENGTH] == crc32c_wire(self.receive_view[pos:after])

    def _add_digests(self, view: memoryview, header: int, data: int, done: int) -> int:
        """Put the digests of the PDU at ``header`` into the output; returns where it ends."""
        if self.header_digest:
            view[header + BHS_LENGTH : data] = crc32c_wire(view[header : header + BHS_LENGTH])
        if self.data_digest and done > data:
            view[done : done + DIGEST_LENGTH] = crc32c_wire(view[data:done])
            done += DIGEST_LENGTH
        return done

    # -- probes, where each event of a command fires by itself

    def _mark(self, done: int, lun: int, itt: int, address: int, length: int) -> None:
        """Fire a read's xfer-done when the byte before ``done`` of the chunk was accepted by the socket."""
        self.marks.append((self.chunk_begin + done, lun, itt, address, 0, length))

    def _fire_command(self, mask: int, lun: int, pos: int) -> None:
        if mask & SCSI_COMMAND:
            buf = self.receive
            cdb = bytes(buf[pos + 32 : pos + (42 if buf[pos + 32] < 0x80 else 48)])
            self.probes.pdu(_COMMAND_PROBE, self.info, lun, buf, pos, cdb)

    def _fire_read(self, mask: int, lun: int, itt: int, length: int, tail: int, data: int, done: int) -> None:
        probes, info, chunk = self.probes, self.info, self.chunk
        assert chunk is not None
        address = chunk.address + data
        if mask & XFER_START:
            probes.xfer(_START_PROBE, info, lun, itt, RESERVED_TAG, address, 0, length, XFER_READ)
        if mask & DATA_SEND:
            probes.pdu(_DATA_PROBE, info, lun, chunk.data, tail)
        if mask & XFER_DONE:
            self._mark(done, lun, itt, address, length)

    def _fire_transfer(self, mask: int, lun: int, itt: int, address: int, length: int) -> None:
        probes, info = self.probes, self.info
        if mask & XFER_START:
            probes.xfer(_START_PROBE, info, lun, itt, RESERVED_TAG, address, 0, length, XFER_WRITE)
        if mask & XFER_DONE:
            probes.xfer(_DONE_PROBE, info, lun, itt, RESERVED_TAG, address, 0, length, XFER_WRITE)
