"""A session of one connection: commands, several at once, and everything that is not a command."""

from __future__ import annotations

import struct
from types import TracebackType
from typing import Final, TypedDict, Unpack, cast

from iscsitools.initiator.channel import Address, Channel
from iscsitools.initiator.chap import Chap
from iscsitools.initiator.errors import ProtocolError
from iscsitools.initiator.login import DEFAULT_OFFERS, decode_pairs, encode_keys
from iscsitools.initiator.pdu import NO_TAG, Pdu, bhs_of, encode_lun
from iscsitools.initiator.pdu_socket import pad
from iscsitools.initiator.result import Result
from iscsitools.initiator.tasks import Alter, Task, checked
from iscsitools.wire.rfc7143 import Flag, LogoutReason, LogoutResponse, Opcode
from iscsitools.wire.scsi import Attribute

_MAX_TEXT: Final = 1 << 24
"""Bytes of a text answer, over all its PDUs: a target does not fill the memory."""
_EXTENDED_CDB: Final = 1
"""The type of that additional header segment (RFC 7143 11.2.2.1)."""
_ATTENTIONS: Final = 4
"""How many unit attentions a new I_T nexus may have to take before a command is done."""


class HeaderFields(TypedDict, total=False):
    """Fields of a SCSI Command's header that are otherwise filled in (RFC 7143 11.3)."""

    flags: int
    itt: int
    edtl: int
    cmd_sn: int
    exp_stat_sn: int


class CommandOptions(HeaderFields, total=False):
    """How a command is sent, where it is not the usual way; see :meth:`Session.start_command`."""

    immediate: bool | None
    unsolicited: bool | None
    attribute: int
    immediate_delivery: bool
    alter: Alter | None
    hold_r2ts: bool
    corrupt: str


class Session(Channel):
    """A session of one connection. :meth:`connect` logs in; ``Session(address)`` only connects.

    As a context manager it closes the connection at the end, without a logout; :meth:`logout` before that is polite,
    and lets the target forget the session at once.
    """

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
        """Connect and log in (RFC 7143 chapter 6).

        ``chap``: (name, secret) of the initiator; ``mutual``: those that the target has to prove; ``algorithms``: the
        list to offer as CHAP_A. ``digests`` is offered for header and data ("CRC32C", "CRC32C,None"); ``keys`` are
        offers that replace defaults. ``timeout``: seconds without a byte after which TimeoutError is raised. ``strict``
        False lets a wrong ExpDataSN pass, which other targets than ours send. ``source``: the address to come from.

        Raises LoginError when the target refuses, ProtocolError when its answers make no sense or its CHAP response is
        wrong, ConnectionClosedError, and OSError when it cannot be reached.
        """
        session = cls(address, isid=isid, tsih=tsih, cid=cid, timeout=timeout, source=source)
        session.strict = strict
        names = {"InitiatorName": initiator, "SessionType": "Discovery" if discovery else "Normal"}
        names |= {} if discovery else {"TargetName": target}
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
        attribute: int = Attribute.SIMPLE,
        immediate_delivery: bool = False,
        alter: Alter | None = None,
        hold_r2ts: bool = False,
        corrupt: str = "",
        **header: Unpack[HeaderFields],
    ) -> Task:
        """Send a command and do not wait: ``read`` bytes are expected, ``write`` is sent.

        ``immediate`` and ``unsolicited`` data are sent as far as agreed on unless said otherwise. ``attribute`` is the
        task attribute, ``immediate_delivery`` the I bit. To misbehave on purpose: ``header`` replaces header fields,
        ``alter`` changes those of its Data-Outs, ``hold_r2ts`` leaves R2Ts unanswered, ``corrupt`` spoils a digest
        ("header" or "data"). Waits only while the command window is closed.
        """
        now, unsolicited_end = self._sent_unasked(len(write), immediate, unsolicited)
        more = unsolicited_end > now
        fields = cast("dict[str, int]", dict(header))
        direction = (Flag.READ if read else 0) | (Flag.WRITE if write else 0)
        fields.setdefault("flags", (0 if more else Flag.FINAL) | direction | attribute)
        fields.setdefault("edtl", len(write) or read)
        fields["lun"] = encode_lun(lun)
        self._number(immediate_delivery, fields)
        task = Task(fields["itt"], lun, write, read, alter, strict=self.strict, hold_r2ts=hold_r2ts, cdb=cdb)
        self.tasks[task.itt] = task
        bhs = bhs_of(Opcode.SCSI_COMMAND, fields, immediate=immediate_delivery, cdb=cdb)
        self.send_pdu(bhs, extended_cdb(cdb), write[:now], corrupt)
        if more:
            segment = self.agreed.target_segment
            task.send_data(self.wire, now, unsolicited_end, NO_TAG, fields["lun"], segment, self.exp_stat_sn)
        return task

    def _sent_unasked(self, length: int, immediate: bool | None, unsolicited: bool | None) -> tuple[int, int]:
        """How many of a command's bytes go with it, and where those end that follow without an R2T (RFC 7143 4.2.5.2).

        ``immediate`` and ``unsolicited``: whether there are such; None: as agreed on.
        """
        agreed = self.agreed
        first = min(length, agreed.first_burst)
        now = min(first, agreed.target_segment) if (agreed.immediate_data if immediate is None else immediate) else 0
        return now, first if (not agreed.initial_r2t if unsolicited is None else unsolicited) else 0

    def wait(self, task: Task) -> Result:
        """Receive until the command has ended; ProtocolError when the target rejects it."""
        while task.result is None:
            if task.reject is not None:
                raise ProtocolError(f"the target rejected the command: {task.reject}")
            self.pump()
        return task.result

    def command(
        self, cdb: bytes, lun: int = 0, read: int = 0, write: bytes = b"", **how: Unpack[CommandOptions]
    ) -> Result:
        """Send a command and wait for its end; ``how`` as for :meth:`start_command`."""
        return self.wait(self.start_command(cdb, lun, read, write, **how))

    def read_capacity(self, lun: int = 0) -> tuple[int, int]:
        """Blocks, and bytes of a block (READ CAPACITY(16), SBC-3 5.16); unit attentions that come first are taken.

        Raises CommandError when it goes on failing.
        """
        for _ in range(_ATTENTIONS):
            result = self.command(bytes([0x9E, 0x10] + [0] * 11 + [32, 0, 0]), lun, read=32)
            if result.good:
                break
        last, size = struct.unpack_from(">QI", checked(result).data)
        return last + 1, size

    def read(self, lba: int, blocks: int, lun: int = 0, block_size: int = 512) -> bytes:
        """READ(16) of blocks; raises CommandError when the status is not GOOD."""
        result = self.command(struct.pack(">BBQIBB", 0x88, 0, lba, blocks, 0, 0), lun, read=blocks * block_size)
        return checked(result).data

    def write(
        self, lba: int, data: bytes, lun: int = 0, block_size: int = 512, **how: Unpack[CommandOptions]
    ) -> None:  # fmt: skip
        """WRITE(16) of whole blocks; raises CommandError when the status is not GOOD."""
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
            if len(text) > _MAX_TEXT:
                raise ProtocolError("a text answer without end")
            if pdu.final:
                return decode_pairs(text)
            self.request(Opcode.TEXT_REQUEST, immediate, itt=itt, ttt=pdu.ttt, lun=pdu.lun)

    def send_targets(self, name: str = "All") -> list[tuple[str, str]]:
        """SendTargets (RFC 7143 appendix C): the pairs of the answer. ``discover`` sorts them by target."""
        return self.text({"SendTargets": name})

    def manage(
        self, function: int, lun: int = 0, rtt: int = NO_TAG, ref_cmd_sn: int = 0, immediate: bool = True
    ) -> Pdu:
        """A task management function (RFC 7143 11.5), such as ``ManagementFunction.ABORT_TASK``; returns the response.

        ``rtt`` and ``ref_cmd_sn`` name the task to abort.
        """
        itt = self.request(
            Opcode.TASK_REQUEST,
            immediate,
            flags=Flag.FINAL | function,
            lun=encode_lun(lun),
            rtt=rtt,
            ref_cmd_sn=ref_cmd_sn,
        )
        return self.until(lambda pdu: pdu.opcode == Opcode.TASK_RESPONSE and pdu.itt == itt)

    def logout(self, reason: int = LogoutReason.CLOSE_SESSION, cid: int | None = None, immediate: bool = True) -> Pdu:
        """Log out (RFC 7143 11.14) and return the response; the connection is closed when it is a success."""
        cid = self.cid if cid is None else cid
        itt = self.request(Opcode.LOGOUT_REQUEST, immediate, flags=Flag.FINAL | reason, cid=cid)
        pdu = self.until(lambda pdu: pdu.opcode == Opcode.LOGOUT_RESPONSE and pdu.itt == itt)
        if pdu.response == LogoutResponse.SUCCESS:
            self.close()
        return pdu

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()


def extended_cdb(cdb: bytes) -> bytes:
    """The AHS that carries a CDB's bytes from the 17th on (RFC 7143 11.2.2.3)."""
    if len(cdb) <= 16:
        return b""
    return pad(struct.pack(">HBB", len(cdb) - 15, _EXTENDED_CDB, 0) + cdb[16:])
