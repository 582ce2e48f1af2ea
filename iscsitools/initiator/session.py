"""A session of one connection: commands, several at once, and everything that is not a command."""

from __future__ import annotations

import struct
from types import TracebackType
from typing import Any

from iscsitools.initiator.channel import Address, Channel
from iscsitools.initiator.chap import Chap
from iscsitools.initiator.login import DEFAULT_OFFERS, decode_pairs, encode_keys
from iscsitools.initiator.pdu import NO_TAG, Opcode, Pdu, encode_lun, make_bhs
from iscsitools.initiator.tasks import Alter, Result, Task
from iscsitools.initiator.wire import pad

SIMPLE = 1


class Session(Channel):
    """A session. :meth:`connect` logs in; ``Session(address)`` only connects."""

    @classmethod
    def connect(
        cls,
        address: Address,
        target: str = "",
        *,
        initiator: str = "iqn.2026-11.example:initiator",
        isid: int = 0x400001370000,
        tsih: int = 0,
        cid: int = 1,
        keys: dict[str, str] | None = None,
        chap: tuple[str, str] | None = None,
        mutual: tuple[str, str] | None = None,
        algorithms: str = "7,6,5",
        discovery: bool = False,
        digests: str = "None",
        timeout: float = 30.0,
        strict: bool = True,
        source: Address | None = None,
    ) -> Session:
        """Connect and log in. ``digests`` is offered for header and data; ``keys`` are offers that replace defaults.

        ``strict`` False lets a wrong ExpDataSN pass, which other targets than ours send. ``source``: the address to
        come from.
        """
        session = cls(address, isid=isid, tsih=tsih, cid=cid, timeout=timeout, source=source)
        session.strict = strict
        names = {"InitiatorName": initiator, "SessionType": "Discovery" if discovery else "Normal"}
        if not discovery:
            names["TargetName"] = target
        offers = DEFAULT_OFFERS | {"HeaderDigest": digests, "DataDigest": digests} | (keys or {})
        try:
            session.login(names, offers, Chap(chap, mutual, algorithms) if chap else None)
        except BaseException:
            session.close()
            raise
        return session

    def login(self, names: dict[str, str], offers: dict[str, str], chap: Chap | None = None) -> None:
        """Do both login stages on a session that is only connected."""
        self.agreed = self.phase.run(names, offers, chap)
        self.exp_stat_sn = (self.agreed.stat_sn + 1) & 0xFFFFFFFF
        self.max_cmd_sn = self.agreed.max_cmd_sn

    def start_command(
        self,
        cdb: bytes,
        lun: int = 0,
        read: int = 0,
        write: bytes = b"",
        *,
        immediate: bool | None = None,
        unsolicited: bool | None = None,
        attribute: int = SIMPLE,
        immediate_delivery: bool = False,
        alter: Alter | None = None,
        hold_r2ts: bool = False,
        corrupt: str = "",
        **fields: Any,
    ) -> Task:
        """Send a command. ``immediate`` and ``unsolicited`` data are sent as far as agreed on unless said otherwise.

        ``fields`` replace header fields (``cmd_sn``, ``edtl``, ...), ``alter`` those of its Data-Outs.
        """
        agreed = self.agreed
        now = unsolicited_end = 0
        if agreed.immediate_data if immediate is None else immediate:
            now = min(len(write), agreed.first_burst, agreed.target_segment)
        if not agreed.initial_r2t if unsolicited is None else unsolicited:
            unsolicited_end = min(len(write), agreed.first_burst)
        more = unsolicited_end > now
        fields.setdefault("flags", (0 if more else 0x80) | (0x40 if read else 0) | (0x20 if write else 0) | attribute)
        fields.setdefault("edtl", len(write) or read)
        fields.setdefault("lun", encode_lun(lun))
        fields.setdefault("exp_stat_sn", self.exp_stat_sn)
        if "itt" not in fields:
            self._itt = (self._itt + 1) % NO_TAG
            fields["itt"] = self._itt
        self._number(immediate_delivery, fields)
        task = Task(fields["itt"], lun, write, read, alter, strict=self.strict, hold_r2ts=hold_r2ts)
        self.tasks[task.itt] = task
        bhs = make_bhs(Opcode.SCSI_COMMAND, immediate=immediate_delivery, cdb=cdb, **fields)
        self.send_pdu(bhs, extended_cdb(cdb), write[:now], corrupt)
        if more:
            task.send_data(
                self.wire, now, unsolicited_end, NO_TAG, fields["lun"], agreed.target_segment, self.exp_stat_sn
            )
        return task

    def wait(self, task: Task) -> Result:
        """Receive until the command has ended."""
        while task.result is None:
            self.pump()
        return task.result

    def command(self, cdb: bytes, lun: int = 0, read: int = 0, write: bytes = b"", **how: Any) -> Result:
        """Send a command and wait for its end; ``how`` as for :meth:`start_command`."""
        return self.wait(self.start_command(cdb, lun, read, write, **how))

    def read_capacity(self, lun: int = 0) -> tuple[int, int]:
        """Blocks, and bytes of a block (READ CAPACITY(16), SBC-3 5.16)."""
        for _ in range(4):  # unit attentions come first
            result = self.command(bytes([0x9E, 0x10] + [0] * 11 + [32, 0, 0]), lun, read=32)
            if result.good:
                break
        last, size = struct.unpack_from(">QI", result.data)
        return last + 1, size

    def read(self, lba: int, blocks: int, lun: int = 0, block_size: int = 512) -> bytes:
        """READ(16) of blocks; raises OSError when the status is not GOOD."""
        result = self.command(struct.pack(">BBQIBB", 0x88, 0, lba, blocks, 0, 0), lun, read=blocks * block_size)
        return checked(result).data

    def write(self, lba: int, data: bytes, lun: int = 0, block_size: int = 512, **how: Any) -> None:
        """WRITE(16) of blocks; raises OSError when the status is not GOOD."""
        cdb = struct.pack(">BBQIBB", 0x8A, 0, lba, len(data) // block_size, 0, 0)
        checked(self.command(cdb, lun, write=data, **how))

    def nop(self, data: bytes = b"", immediate: bool = False) -> Pdu:
        """A ping; returns the NOP-In."""
        itt = self.request(Opcode.NOP_OUT, immediate, data, ttt=NO_TAG)
        return self.until(lambda pdu: pdu.opcode == Opcode.NOP_IN and pdu.itt == itt)

    def text(self, keys: dict[str, str], immediate: bool = False) -> list[tuple[str, str]]:
        """A Text negotiation; returns all pairs of the answer, which may come in several PDUs."""
        itt = self.request(Opcode.TEXT_REQUEST, immediate, encode_keys(keys), ttt=NO_TAG)
        text = b""
        while True:
            pdu = self.until(lambda pdu: pdu.opcode == Opcode.TEXT_RESPONSE and pdu.itt == itt)
            text += pdu.data
            if pdu.final:
                return decode_pairs(text)
            self.request(Opcode.TEXT_REQUEST, immediate, itt=itt, ttt=pdu.ttt, lun=pdu.lun)

    def send_targets(self, name: str = "All") -> list[tuple[str, str]]:
        """SendTargets (RFC 7143 appendix C)."""
        return self.text({"SendTargets": name})

    def manage(
        self, function: int, lun: int = 0, rtt: int = NO_TAG, ref_cmd_sn: int = 0, immediate: bool = True
    ) -> Pdu:
        """A task management function (RFC 7143 11.5); returns the response."""
        itt = self.request(
            Opcode.TASK_REQUEST,
            immediate,
            flags=0x80 | function,
            lun=encode_lun(lun),
            rtt=rtt,
            ref_cmd_sn=ref_cmd_sn,
        )
        return self.until(lambda pdu: pdu.opcode == Opcode.TASK_RESPONSE and pdu.itt == itt)

    def logout(self, reason: int = 0, cid: int | None = None, immediate: bool = True) -> Pdu:
        """Log out (reason 0: the session) and return the response; the connection is closed when it is a success."""
        cid = self.cid if cid is None else cid
        itt = self.request(Opcode.LOGOUT_REQUEST, immediate, flags=0x80 | reason, cid=cid)
        pdu = self.until(lambda pdu: pdu.opcode == Opcode.LOGOUT_RESPONSE and pdu.itt == itt)
        if pdu.response == 0:
            self.close()
        return pdu

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()


def checked(result: Result) -> Result:
    """The result, if it is good."""
    if not result.good:
        raise OSError(f"status 0x{result.status:02x} response {result.response} sense {result.sense.hex()}")
    return result


def extended_cdb(cdb: bytes) -> bytes:
    """The AHS that carries a CDB's bytes from the 17th on (RFC 7143 11.2.2.3)."""
    if len(cdb) <= 16:
        return b""
    return pad(struct.pack(">HBB", len(cdb) - 15, 1, 0) + cdb[16:])
