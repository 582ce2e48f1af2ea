"""PDU layouts of RFC 7143 chapter 11 as one table, and the log of all PDUs that a connection carried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from iscsitools.wire.rfc7143 import BHS_LENGTH, IMMEDIATE, RESERVED_TAG, Flag, Opcode

NO_TAG: Final = RESERVED_TAG
"""The tag of a PDU that has none, as of a NOP-In that asks for no answer (RFC 7143 11.2.1.8, 11.19.2)."""

_LUN = {"lun": (8, 8)}
_ASKS = {"cmd_sn": (24, 4), "exp_stat_sn": (28, 4)}
_ANSWERS = {"stat_sn": (24, 4), "exp_cmd_sn": (28, 4), "max_cmd_sn": (32, 4)}
_TTT = {"ttt": (20, 4)}
_DATA = {"data_sn": (36, 4), "buffer_offset": (40, 4)}
_LOGIN = {"version_max": (2, 1), "isid": (8, 6), "tsih": (14, 2)}

# name -> (first byte, bytes); what every PDU has (flags, lengths, ITT) is added below.
_OWN: Final[dict[int, dict[str, tuple[int, int]]]] = {
    Opcode.NOP_OUT: _LUN | _TTT | _ASKS,
    Opcode.SCSI_COMMAND: _LUN | _ASKS | {"edtl": (20, 4)},
    Opcode.TASK_REQUEST: _LUN | _ASKS | {"rtt": (20, 4), "ref_cmd_sn": (32, 4), "exp_data_sn": (36, 4)},
    Opcode.LOGIN_REQUEST: _LOGIN | _ASKS | {"version_min": (3, 1), "cid": (20, 2)},
    Opcode.TEXT_REQUEST: _LUN | _TTT | _ASKS,
    Opcode.DATA_OUT: _LUN | _TTT | _DATA | {"exp_stat_sn": (28, 4)},
    Opcode.LOGOUT_REQUEST: _ASKS | {"cid": (20, 2)},
    Opcode.SNACK_REQUEST: _LUN | _TTT | {"exp_stat_sn": (28, 4), "beg_run": (40, 4), "run_length": (44, 4)},
    Opcode.NOP_IN: _LUN | _TTT | _ANSWERS,
    Opcode.SCSI_RESPONSE: _ANSWERS
    | {
        "response": (2, 1),
        "status": (3, 1),
        "snack_tag": (20, 4),
        "exp_data_sn": (36, 4),
        "bidi_residual": (40, 4),
        "residual": (44, 4),
    },
    Opcode.TASK_RESPONSE: _ANSWERS | {"response": (2, 1)},
    Opcode.LOGIN_RESPONSE: _LOGIN
    | _ANSWERS
    | {"version_active": (3, 1), "status_class": (36, 1), "status_detail": (37, 1)},
    Opcode.TEXT_RESPONSE: _LUN | _TTT | _ANSWERS,
    Opcode.DATA_IN: _LUN | _TTT | _ANSWERS | _DATA | {"status": (3, 1), "residual": (44, 4)},
    Opcode.LOGOUT_RESPONSE: _ANSWERS | {"response": (2, 1), "time2wait": (40, 2), "time2retain": (42, 2)},
    Opcode.R2T: _LUN | _TTT | _ANSWERS | {"r2t_sn": (36, 4), "buffer_offset": (40, 4), "desired_length": (44, 4)},
    Opcode.ASYNC_MESSAGE: _LUN
    | _ANSWERS
    | {"event": (36, 1), "vcode": (37, 1), "parameter1": (38, 2), "parameter2": (40, 2), "parameter3": (42, 2)},
    Opcode.REJECT: _ANSWERS | {"reason": (2, 1), "data_sn": (36, 4)},
}
_COMMON = {"flags": (1, 1), "ahs_words": (4, 1), "data_length": (5, 3), "itt": (16, 4)}
FIELDS: Final = {opcode: _COMMON | own for opcode, own in _OWN.items()}
"""Of each opcode the fields of its header: name -> (first byte, bytes)."""


@dataclass(frozen=True)
class Pdu:
    """One PDU. Its header fields are attributes named as in :data:`FIELDS`, such as ``pdu.stat_sn``."""

    bhs: bytes
    ahs: bytes = b""
    data: bytes = b""

    @property
    def opcode(self) -> int:
        """The opcode, without the immediate bit."""
        return self.bhs[0] & 0x3F

    @property
    def immediate(self) -> bool:
        """The I bit."""
        return bool(self.bhs[0] & IMMEDIATE)

    @property
    def final(self) -> bool:
        """The F bit."""
        return bool(self.bhs[1] & Flag.FINAL)

    @property
    def cdb(self) -> bytes:
        """The CDB's bytes in the BHS (SCSI Command only)."""
        return self.bhs[32:48]

    def __getattr__(self, name: str) -> int:
        try:
            first, size = FIELDS[self.opcode][name]
        except KeyError:
            raise AttributeError(f"PDU 0x{self.opcode:02x} has no field {name}") from None
        return int.from_bytes(self.bhs[first : first + size], "big")

    def fields(self) -> dict[str, int]:
        """All header fields by name; KeyError for an opcode that RFC 7143 does not have."""
        return {name: getattr(self, name) for name in FIELDS[self.opcode]}

    def __str__(self) -> str:
        if self.opcode not in FIELDS:
            return f"PDU 0x{self.opcode:02x} {self.bhs.hex()}"
        shown = " ".join(f"{name}=0x{value:x}" for name, value in self.fields().items())
        return f"{Opcode(self.opcode).name} {shown}"


def make_bhs(opcode: int, *, immediate: bool = False, cdb: bytes = b"", **fields: int) -> bytes:
    """A 48-byte header. Fields as in :data:`FIELDS`; ``flags`` is 0x80 and tags are 0 when not given.

    Raises KeyError for a field that the PDU does not have, OverflowError for a number that does not fit.
    """
    return bhs_of(opcode, fields, immediate=immediate, cdb=cdb)


def bhs_of(opcode: int, fields: Mapping[str, int], *, immediate: bool = False, cdb: bytes = b"") -> bytes:
    """The same, of fields that are in a mapping already."""
    bhs = bytearray(BHS_LENGTH)
    bhs[0] = opcode | (IMMEDIATE if immediate else 0)
    bhs[1] = Flag.FINAL
    if cdb:
        bhs[32:48] = cdb[:16].ljust(16, b"\0")
    layout = FIELDS[opcode]
    for name, value in fields.items():
        first, size = layout[name]
        bhs[first : first + size] = value.to_bytes(size, "big")
    return bytes(bhs)


def encode_lun(number: int) -> int:
    """The 8-byte LUN field: peripheral device addressing below 256, flat space above (SAM-5 4.7.7)."""
    return (number if number < 256 else 0x4000 | number) << 48


class Log:
    """Every PDU that was sent and received, in order, as headers only; 49 bytes each, so millions fit.

    Counts, sums and xors over any header field can then be compared with what a tracing tool says.
    """

    def __init__(self) -> None:
        self._records = bytearray()

    def note(self, bhs: bytes, sent: bool) -> None:
        """Add one PDU."""
        self._records.append(sent)
        self._records += bhs

    def clear(self) -> None:
        """Forget all; what follows is counted from nothing."""
        self._records.clear()

    def pdus(self, opcode: int | None = None) -> Iterator[Pdu]:
        """The PDUs of one opcode (or of all) in order; their data is not kept."""
        records = bytes(self._records)
        for at in range(0, len(records), BHS_LENGTH + 1):
            if opcode is None or records[at + 1] & 0x3F == opcode:
                yield Pdu(records[at + 1 : at + 1 + BHS_LENGTH])

    def counts(self) -> dict[Opcode, int]:
        """How many of each opcode that RFC 7143 has."""
        return {
            Opcode(code): count for code, count in Counter(pdu.opcode for pdu in self.pdus()).items() if code in FIELDS
        }

    def count(self, opcode: int) -> int:
        """How many of this opcode."""
        return sum(1 for _ in self.pdus(opcode))

    def total(self, opcode: int, field: str) -> int:
        """The sum of a field over all PDUs of this opcode."""
        return sum(getattr(pdu, field) for pdu in self.pdus(opcode))

    def xor(self, opcode: int, field: str) -> int:
        """The exclusive or of a field over all PDUs of this opcode."""
        value = 0
        for pdu in self.pdus(opcode):
            value ^= getattr(pdu, field)
        return value
