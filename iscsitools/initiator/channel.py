"""A connection in and out of the full feature phase: numbering, the window, and what each received PDU asks for."""

from __future__ import annotations

import socket
from collections.abc import Callable

from iscsitools.initiator.errors import ProtocolError
from iscsitools.initiator.login import Agreed, InitiatorLogin
from iscsitools.initiator.pdu import FIELDS, NO_TAG, Log, Pdu, bhs_of
from iscsitools.initiator.pdu_socket import PduSocket
from iscsitools.initiator.tasks import Task
from iscsitools.wire.rfc7143 import BHS_LENGTH, SERIAL_MASK, Flag, Opcode, RejectReason, serial_less

Address = tuple[str, int]
"""Host and port; the host without brackets round IPv6."""

_FROM_TARGET = 0x20
"""The bit of an opcode that says who sends it (RFC 7143 11.2.1.2)."""


class Channel:
    """The base of :class:`Session`: raw access, and the receiving side. ``phase`` sends login PDUs by hand.

    After login, ``agreed`` says what was negotiated, ``log`` has every PDU, ``others`` those that belong to no
    command: Asynchronous Messages, Rejects, pings of the target. What RFC 7143 forbids a target raises ProtocolError.
    """

    def __init__(
        self,
        address: Address,
        *,
        isid: int = 0x400001370000,
        tsih: int = 0,
        cid: int = 1,
        cmd_sn: int = 1,
        timeout: float = 30.0,
        source: Address | None = None,
    ) -> None:
        self.log = Log()
        self.wire = PduSocket(socket.create_connection(address, timeout, source), self.log, timeout)
        self.phase = InitiatorLogin(self.wire, isid, tsih, cid, cmd_sn)
        self.agreed = Agreed()
        self.tasks: dict[int, Task] = {}
        self.others: list[Pdu] = []
        self.answer_pings = True
        self.strict = True
        self.cid = cid
        self.cmd_sn = cmd_sn
        self.exp_stat_sn = 0
        self.max_cmd_sn = cmd_sn
        self._itt = 0

    def send_pdu(self, bhs: bytes, ahs: bytes = b"", data: bytes = b"", corrupt: str = "") -> None:
        """Send a PDU as it is; ``corrupt`` names the digest to spoil ("header" or "data")."""
        self.wire.send(bhs, ahs, data, corrupt)

    def recv_pdu(self) -> Pdu:
        """The next PDU, whatever it is; StatSN and the window are taken over, nothing is answered."""
        pdu = self.wire.recv()
        if pdu.opcode not in FIELDS or not pdu.opcode & _FROM_TARGET:
            raise ProtocolError(f"no PDU of a target's: {pdu}")
        if pdu.opcode != Opcode.DATA_IN or pdu.flags & Flag.STATUS:
            self._take_stat_sn(pdu)
        if serial_less(self.max_cmd_sn, pdu.max_cmd_sn):
            self.max_cmd_sn = pdu.max_cmd_sn
        return pdu

    def _take_stat_sn(self, pdu: Pdu) -> None:
        if pdu.stat_sn != self.exp_stat_sn:
            raise ProtocolError(f"StatSN 0x{pdu.stat_sn:x}, expected 0x{self.exp_stat_sn:x}: {pdu}")
        # R2T and the target's own NOP-In carry the next StatSN and do not use it up (RFC 7143 11.8.4, 11.19.4).
        if pdu.opcode == Opcode.R2T or (pdu.opcode == Opcode.NOP_IN and pdu.itt == NO_TAG):
            return
        self.exp_stat_sn = (self.exp_stat_sn + 1) & SERIAL_MASK

    def request(self, opcode: int, immediate: bool = False, data: bytes = b"", cdb: bytes = b"", **fields: int) -> int:
        """Send a request with the next ITT and CmdSN (unless ``fields`` has them); returns the ITT."""
        self._number(immediate, fields)
        self.send_pdu(bhs_of(opcode, fields, immediate=immediate, cdb=cdb), data=data)
        return fields["itt"]

    def _number(self, immediate: bool, fields: dict[str, int]) -> None:
        """Fill in ITT, ExpStatSN and CmdSN; wait until the window is open for that (RFC 7143 4.2.2.1)."""
        if "itt" not in fields:
            self._itt = (self._itt + 1) % NO_TAG
            fields["itt"] = self._itt
        fields.setdefault("exp_stat_sn", self.exp_stat_sn)
        if "cmd_sn" in fields:
            return
        while not immediate and serial_less(self.max_cmd_sn, self.cmd_sn):
            self.pump()
        fields["cmd_sn"] = self.cmd_sn
        if not immediate:
            self.cmd_sn = (self.cmd_sn + 1) & SERIAL_MASK

    def pump(self) -> Pdu:
        """Receive one PDU and do what it asks for; returns it."""
        pdu = self.recv_pdu()
        task = self.tasks.get(pdu.itt)
        if pdu.opcode in (Opcode.SCSI_RESPONSE, Opcode.DATA_IN, Opcode.R2T):
            if task is None:
                raise ProtocolError(f"no such task: {pdu}")
            self._advance(task, pdu)
        else:
            self.others.append(pdu)
            if pdu.opcode == Opcode.REJECT:
                self._rejected(pdu)
            if pdu.opcode == Opcode.NOP_IN and pdu.ttt != NO_TAG and self.answer_pings:
                self.request(Opcode.NOP_OUT, True, pdu.data, itt=NO_TAG, ttt=pdu.ttt, lun=pdu.lun)
        return pdu

    def _rejected(self, pdu: Pdu) -> None:
        """Note which command a Reject names: none will follow. One whose data had a wrong digest goes on (7.8)."""
        header = Pdu(pdu.data[:BHS_LENGTH])
        if len(header.bhs) < BHS_LENGTH or pdu.reason == RejectReason.DATA_DIGEST_ERROR:
            return
        if header.opcode == Opcode.SCSI_COMMAND and header.itt in self.tasks:
            self.tasks[header.itt].reject = pdu

    def _advance(self, task: Task, pdu: Pdu) -> None:
        task.pdus.append(pdu)
        if pdu.opcode == Opcode.DATA_IN:
            task.data_in(pdu)
        elif pdu.opcode == Opcode.SCSI_RESPONSE:
            task.responded(pdu)
        else:
            agreed = self.agreed
            task.requested(pdu, self.wire, agreed.target_segment, agreed.max_burst, self.exp_stat_sn)
        if task.result is not None:
            del self.tasks[task.itt]

    def until(self, wanted: Callable[[Pdu], bool]) -> Pdu:
        """Receive, doing what is asked for, until a PDU that is wanted has come."""
        while True:
            pdu = self.pump()
            if wanted(pdu):
                return pdu

    def close(self) -> None:
        """Close the connection without a logout."""
        self.wire.close()
