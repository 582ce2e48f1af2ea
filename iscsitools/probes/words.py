"""What the probes and the members of their arguments mean, in words: the provider's reference is made of this.

Numbers of ``iscsiinfo_t`` are not described here but read out of :data:`iscsitools.probes.table.FIELDS`, which is what
the target itself does. Sections are of RFC 7143.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from iscsitools.probes.table import CMDSN, DATASN, FIELDS, ITT, STATSN, TAG, TTT, XFER_PROBES, ZERO, Probe


class Member(NamedTuple):
    """A member of an argument's type."""

    name: str
    type: str
    text: str


WHEN: Final[dict[Probe, str]] = {
    Probe.LOGIN_COMMAND: "A Login Request was received (11.12); each of those that one login takes.",
    Probe.LOGIN_RESPONSE: "A Login Response is sent (11.13), of a login that goes on, ends well or fails.",
    Probe.LOGOUT_COMMAND: "A Logout Request was received (11.14).",
    Probe.LOGOUT_RESPONSE: "A Logout Response is sent (11.15).",
    Probe.TEXT_COMMAND: "A Text Request was received (11.10), as SendTargets of a discovery.",
    Probe.TEXT_RESPONSE: "A Text Response is sent (11.11).",
    Probe.SCSI_COMMAND: "A SCSI Command was received (11.3), with its immediate data if it has any.",
    Probe.SCSI_RESPONSE: (
        "A SCSI Response is sent (11.4). A read that ends well has its status in its last Data-In instead: then this "
        "probe does not fire, and that data-send has ISCSI_FLAG_DATA_STATUS."
    ),
    Probe.DATA_SEND: "A Data-In is sent (11.7): data of a read, on its way to the initiator.",
    Probe.DATA_RECEIVE: "A Data-Out was received (11.7): data of a write, asked for or not.",
    Probe.DATA_REQUEST: "An R2T is sent (11.8): the target asks for data of a write.",
    Probe.TASK_COMMAND: "A Task Management Function Request was received (11.5).",
    Probe.TASK_RESPONSE: "A Task Management Function Response is sent (11.6).",
    Probe.NOP_RECEIVE: "A NOP-Out was received (11.18): a ping, or the answer to one.",
    Probe.NOP_SEND: "A NOP-In is sent (11.19): an answer, or a ping of the target.",
    Probe.ASYNC_SEND: "An Asynchronous Message is sent (11.9).",
    Probe.XFER_START: (
        "A transfer between the unit's buffer and the initiator begins: of a read one, around its Data-In PDUs; of a "
        "write one for all data that comes unasked, immediate data and Data-Out together, and one for each R2T."
    ),
    Probe.XFER_DONE: (
        "A transfer has ended: the socket took the last byte of a read, the last byte of a write was received, or it "
        "was given up. Each xfer-start has its xfer-done."
    ),
}
"""When each probe of the provider fires."""

CONNINFO: Final = (
    Member("ci_local", "string", "The target's address and port, as 192.0.2.7:3260 or [2001:db8::7]:3260."),
    Member("ci_remote", "string", "The initiator's address and port."),
    Member("ci_protocol", "string", "ipv4 or ipv6."),
)
ISCSIINFO: Final = (
    Member("ii_target", "string", "The target's iSCSI name. Empty in a login-command that does not come after one with "
           "the name, in a discovery session, and where the login names a target that is not there."),
    Member("ii_initiator", "string", "The initiator's iSCSI name. Empty in the login-command that first names it."),
    Member("ii_isid", "string", "The ISID, 12 hexadecimal digits."),
    Member("ii_tsih", "string", "The TSIH, as 0x0001; 0x0000 before the login has made the session."),
    Member("ii_transport", "string", "sockets. (Version 0.8 has iser-ib for iSER, which this target does not do.)"),
    Member("ii_lun", "uint64_t", "The unit's number: LUN 5 is 5 in the peripheral and in the flat space form. Another "
           "form, of a unit that is not there, is the eight bytes of the LUN."),
    Member("ii_itt", "uint32_t", "The Initiator Task Tag."),
    Member("ii_ttt", "uint32_t", "The Target Transfer Tag; of task-command the Referenced Task Tag."),
    Member("ii_cmdsn", "uint32_t", "CmdSN of what was received, ExpCmdSN of what is sent."),
    Member("ii_statsn", "uint32_t", "ExpStatSN of what was received, StatSN of what is sent."),
    Member("ii_datasn", "uint32_t", "DataSN, R2TSN or ExpDataSN."),
    Member("ii_datalen", "uint32_t", "DataSegmentLength: bytes of data in the PDU itself."),
    Member("ii_flags", "uint32_t", "Byte 1 of the PDU; see FLAGS."),
)  # fmt: skip
SCSICMD: Final = (
    Member("ic_len", "uint64_t", "Bytes of the CDB: 6, 10, 12 or 16 by its operation code, or as many as the PDU's "
           "extended CDB has."),
    Member("ic_cdb", "uint8_t *", "The CDB: args[2]->ic_cdb[0] is the operation code. Readable up to ic_len."),
)  # fmt: skip
XFERINFO: Final = (
    Member("xfer_laddr", "uintptr_t", "Address of the transfer's first byte in the target. With ci_local, ci_remote "
           "and ii_itt it names one transfer as long as that goes on."),
    Member("xfer_loffset", "uint32_t", "Where that byte is in the command's data (Buffer Offset), in bytes."),
    Member("xfer_lkey", "uint32_t", "0: of remote DMA only."),
    Member("xfer_raddr", "uintptr_t", "0: of remote DMA only."),
    Member("xfer_roffset", "uint32_t", "0: of remote DMA only."),
    Member("xfer_rkey", "uint32_t", "0: of remote DMA only."),
    Member("xfer_len", "uint32_t", "Bytes: in xfer-start those to be moved, in xfer-done those that were."),
    Member("xfer_type", "uint32_t", "0: a read, from the target to the initiator; 1: a write."),
)  # fmt: skip
TYPES: Final = {"conninfo_t": CONNINFO, "iscsiinfo_t": ISCSIINFO, "scsicmd_t": SCSICMD, "xferinfo_t": XFERINFO}
"""The translated types, in the order of args[]."""

_FINAL = "0x80 F"
FLAGS: Final[dict[Probe, str]] = {
    Probe.LOGIN_COMMAND: "0x80 T, 0x40 C, 0x0c CSG, 0x03 NSG",
    Probe.LOGIN_RESPONSE: "0x80 T, 0x40 C, 0x0c CSG, 0x03 NSG",
    Probe.LOGOUT_COMMAND: "0x80 always, 0x7f the reason code",
    Probe.LOGOUT_RESPONSE: "0x80 always",
    Probe.TEXT_COMMAND: "0x80 F, 0x40 C",
    Probe.TEXT_RESPONSE: "0x80 F, 0x40 C",
    Probe.SCSI_COMMAND: "0x80 F, 0x40 R, 0x20 W, 0x07 task attribute",
    Probe.SCSI_RESPONSE: "0x80 always, 0x10 o, 0x08 u, 0x04 O, 0x02 U",
    Probe.DATA_SEND: "0x80 F, 0x40 A, 0x04 O, 0x02 U, 0x01 S",
    Probe.DATA_RECEIVE: _FINAL,
    Probe.DATA_REQUEST: "0x80 always",
    Probe.TASK_COMMAND: "none: 0",
    Probe.TASK_RESPONSE: "0x80 always",
    Probe.NOP_RECEIVE: "0x80 always",
    Probe.NOP_SEND: "0x80 always",
    Probe.ASYNC_SEND: "0x80 always",
    Probe.XFER_START: "none: 0",
    Probe.XFER_DONE: "none: 0",
}
"""The bits of ii_flags, by their letters in the RFC."""

FLAG_NAMES: Final = {
    "ISCSI_FLAG_FINAL": (0x80, "F of the PDUs that have it: the last of a sequence"),
    "ISCSI_FLAG_CMD_READ": (0x40, "R of a SCSI Command: data is expected"),
    "ISCSI_FLAG_CMD_WRITE": (0x20, "W of a SCSI Command: data comes"),
    "ISCSI_FLAG_CMD_BIDI_OVERFLOW": (0x10, "o of a SCSI Response, of a bidirectional read"),
    "ISCSI_FLAG_CMD_BIDI_UNDERFLOW": (0x08, "u of a SCSI Response, of a bidirectional read"),
    "ISCSI_FLAG_CMD_OVERFLOW": (0x04, "O of a SCSI Response: there was more data than expected"),
    "ISCSI_FLAG_CMD_UNDERFLOW": (0x02, "U of a SCSI Response: less data moved than expected"),
    "ISCSI_FLAG_DATA_ACK": (0x40, "A of a Data-In: the initiator shall acknowledge it"),
    "ISCSI_FLAG_DATA_OVERFLOW": (0x04, "O of a Data-In with status"),
    "ISCSI_FLAG_DATA_UNDERFLOW": (0x02, "U of a Data-In with status"),
    "ISCSI_FLAG_DATA_STATUS": (0x01, "S of a Data-In: it carries the status, which is good, and ends the command"),
    "ISCSI_FLAG_TEXT_CONTINUE": (0x40, "C of a Text PDU: the text goes on in the next"),
    "ISCSI_FLAG_LOGIN_TRANSIT": (0x80, "T of a Login PDU: to the stage NSG"),
    "ISCSI_FLAG_LOGIN_CONTINUE": (0x40, "C of a Login PDU: the text goes on in the next"),
}
"""The inlines of the D library, their values and what they say."""

NATIVE: Final = {
    "uip_target_addr": "struct sockaddr_storage * of the target, as its system lays it out",
    "uip_initiator_addr": "struct sockaddr_storage * of the initiator",
    "uip_target": "char *: ii_target",
    "uip_initiator": "char *: ii_initiator",
    "uip_lun": "ii_lun",
    "uip_itt": "ii_itt",
    "uip_ttt": "ii_ttt",
    "uip_cmdsn": "ii_cmdsn",
    "uip_statsn": "ii_statsn",
    "uip_datasn": "ii_datasn",
    "uip_datalen": "ii_datalen",
    "uip_flags": "ii_flags",
    "uip_pad": "nothing",
    "uip_isid": "char *: ii_isid",
    "uip_tsih": "char *: ii_tsih",
    "uip_transport": "char *: ii_transport",
    "uip_local": "char *: ci_local",
    "uip_remote": "char *: ci_remote",
    "uip_protocol": "char *: ci_protocol",
    "uic_len": "ic_len",
    "uic_cdb": "uint8_t *: ic_cdb",
}
"""The members of what the target passes, uiscsiproto_t and uiscsicmd_t; those of uiscsixfer_t are xferinfo_t's."""

_LUN_OF_TASK: Final = frozenset(
    {Probe.SCSI_RESPONSE, Probe.DATA_SEND, Probe.DATA_RECEIVE, Probe.DATA_REQUEST, *XFER_PROBES}
)
_LUN_OF_PDU: Final = frozenset(
    {Probe.SCSI_COMMAND, Probe.TASK_COMMAND, Probe.NOP_RECEIVE, Probe.NOP_SEND, Probe.ASYNC_SEND}
)
_RECEIVED: Final = {ITT: "ITT", TTT: "TTT", CMDSN: "CmdSN", STATSN: "ExpStatSN", DATASN: "DataSN"}
_SENT: Final = {ITT: "ITT", TTT: "TTT", CMDSN: "StatSN", STATSN: "ExpCmdSN", DATASN: "DataSN"}
_CONSTANTS: Final = {ZERO: "0", TAG: "ffffffff"}
_DATASN: Final = {Probe.DATA_REQUEST: "R2TSN", Probe.SCSI_RESPONSE: "ExpDataSN"}
_XFER: Final = {"ii_lun": "the task's", "ii_itt": "the task's", "ii_ttt": "ffffffff, or of the R2T"}
_GOING_IN: Final = ("command", "receive")


def in_probe(probe: Probe) -> dict[str, str]:
    """What each number of iscsiinfo_t is in a probe, in few words: the name of the PDU's field, or a constant."""
    numbers = [member.name for member in ISCSIINFO if member.type != "string"]
    if probe in XFER_PROBES:
        return {name: _XFER.get(name, "0") for name in numbers}
    fields = FIELDS[probe]
    names = (_RECEIVED if probe.label.endswith(_GOING_IN) else _SENT) | _CONSTANTS
    return {
        "ii_lun": "the task's" if probe in _LUN_OF_TASK else "LUN" if probe in _LUN_OF_PDU else "0",
        "ii_itt": names[fields.itt],
        "ii_ttt": "Referenced Task Tag" if probe is Probe.TASK_COMMAND else names[fields.ttt],
        "ii_cmdsn": names[fields.cmdsn],
        "ii_statsn": "StatSN if S, else 0" if probe is Probe.DATA_SEND else names[fields.statsn],
        "ii_datasn": _DATASN.get(probe, names[DATASN]) if fields.datasn == DATASN else "0",
        "ii_datalen": "its length" if fields.datalen else "0",
        "ii_flags": "byte 1" if fields.flags else "0",
    }
