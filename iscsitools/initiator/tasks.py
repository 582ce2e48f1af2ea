"""Outstanding commands: data in and out of one SCSI command, and its result (RFC 7143 11.3, 11.4, 11.7, 11.8)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from iscsitools.initiator.errors import CommandError, ProtocolError
from iscsitools.initiator.pdu import NO_TAG, Pdu, bhs_of
from iscsitools.initiator.pdu_socket import PduSocket
from iscsitools.initiator.result import Result
from iscsitools.wire.rfc7143 import Flag, Opcode

Alter = Callable[[dict[str, int]], None]
"""Changes the header fields of a Data-Out before it is sent."""


def checked(result: Result) -> Result:
    """The result, if it is good; raises CommandError."""
    if not result.good:
        raise CommandError(result)
    return result


def residual_of(pdu: Pdu) -> int:
    """The residual count with its sign (RFC 7143 11.4.5)."""
    if pdu.flags & Flag.UNDERFLOW:
        return pdu.residual
    return -pdu.residual if pdu.flags & Flag.OVERFLOW else 0


@dataclass
class Task:
    """A command that has been sent; ``result`` is there when it has ended."""

    itt: int
    lun: int
    write: bytes = b""
    read: int = 0
    alter: Alter | None = None
    result: Result | None = None
    pdus: list[Pdu] = field(default_factory=list)
    buffer: bytearray = field(default_factory=bytearray)
    data_sn: int = 0
    r2t_sn: int = 0
    strict: bool = True
    """Check ExpDataSN of the response."""
    hold_r2ts: bool = False
    """Leave R2Ts unanswered; they are in ``pdus``."""
    cdb: bytes = b""
    reject: Pdu | None = None
    """The Reject after which no answer comes."""

    def data_in(self, pdu: Pdu) -> None:
        """Take a Data-In, which must be the next one and within what was asked for."""
        if pdu.data_sn != self.data_sn:
            raise ProtocolError(f"DataSN {pdu.data_sn}, expected {self.data_sn}")
        if pdu.buffer_offset != len(self.buffer):
            raise ProtocolError(f"Data-In at {pdu.buffer_offset}, expected {len(self.buffer)}")
        if len(self.buffer) + len(pdu.data) > self.read:
            raise ProtocolError("more Data-In than the expected data transfer length")
        self.data_sn += 1
        self.buffer += pdu.data
        if pdu.flags & Flag.STATUS:
            if not pdu.final:
                raise ProtocolError("Data-In with status and without the F bit")
            self.result = Result(pdu.status, 0, b"", bytes(self.buffer), residual_of(pdu), self.pdus, self.cdb)

    def responded(self, pdu: Pdu) -> None:
        """Take the SCSI Response."""
        if self.strict and pdu.response == 0 and pdu.exp_data_sn != self.data_sn + self.r2t_sn:
            raise ProtocolError(f"ExpDataSN {pdu.exp_data_sn}, {self.data_sn} Data-Ins and {self.r2t_sn} R2Ts came")
        size = int.from_bytes(pdu.data[:2], "big")
        sense = pdu.data[2 : 2 + size]
        self.result = Result(pdu.status, pdu.response, sense, bytes(self.buffer), residual_of(pdu), self.pdus, self.cdb)

    def requested(self, pdu: Pdu, wire: PduSocket, segment: int, max_burst: int, exp_stat_sn: int) -> None:
        """Answer an R2T with Data-Outs."""
        if pdu.r2t_sn != self.r2t_sn:
            raise ProtocolError(f"R2TSN {pdu.r2t_sn}, expected {self.r2t_sn}")
        end = pdu.buffer_offset + pdu.desired_length
        if pdu.ttt == NO_TAG or not 0 < pdu.desired_length <= max_burst or end > len(self.write):
            raise ProtocolError(f"R2T is wrong: {pdu}")
        self.r2t_sn += 1
        if not self.hold_r2ts:
            self.send_data(wire, pdu.buffer_offset, end, pdu.ttt, pdu.lun, segment, exp_stat_sn)

    def send_data(
        self, wire: PduSocket, start: int, end: int, ttt: int, lun: int, segment: int, exp_stat_sn: int
    ) -> None:  # fmt: skip
        """One sequence of Data-Outs."""
        data_sn = 0
        while start < end:
            size = min(segment, end - start)
            fields: dict[str, int] = {
                "flags": Flag.FINAL if start + size == end else 0,
                "lun": lun,
                "itt": self.itt,
                "ttt": ttt,
                "exp_stat_sn": exp_stat_sn,
                "data_sn": data_sn,
                "buffer_offset": start,
            }
            if self.alter is not None:
                self.alter(fields)
            wire.send(bhs_of(Opcode.DATA_OUT, fields), data=self.write[start : start + size])
            start += size
            data_sn += 1
