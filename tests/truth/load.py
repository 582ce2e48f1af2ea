"""Prime numbers of reads and writes, and what every count of them has to be."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from iscsitools.initiator import Log, Opcode, Session

from .work import PATTERN

SEGMENT = 8192
"""Of both sides: MaxRecvDataSegmentLength of the target (its configuration) and of the initiator (offered)."""
BURST = 65536
TARGET = "iqn.2026-11.example:primes"
CONFIG = f"""\
name = "primes"
data_path = "{{data_path}}"
{{more}}
[limits]
max_recv_data_segment_length = {SEGMENT}
max_burst_length = {BURST}
first_burst_length = {BURST}
[[target]]
iqn = "{TARGET}"
lun = [{{{{ number = 0, store = "ram:4M" }}}}, {{{{ number = 5, store = "ram:4M,block_size=4096" }}}}]
"""


@dataclass(frozen=True)
class Part:
    """``count`` commands of ``size`` bytes; ``way`` is "" for reads, else how a write's data goes."""

    count: int
    size: int
    way: str = ""


LOADS: dict[int, tuple[Part, ...]] = {
    0: (
        Part(101, 4096),
        Part(53, 40960),
        Part(43, 4096, "immediate"),
        Part(31, 32768, "unsolicited"),
        Part(23, 139264, "solicited"),
        Part(19, 139264, "mixed"),
    ),
    5: (Part(37, 8192), Part(29, 4096, "solicited"), Part(17, 8192, "unsolicited")),
}
"""By unit number. Each size is a multiple of the block sizes and, but for the first ones, of no power of two alone."""
WAYS = {"immediate": (True, False), "unsolicited": (False, True), "solicited": (False, False), "mixed": (True, True)}
LABELS = {
    Opcode.NOP_OUT: "nop-receive",
    Opcode.SCSI_COMMAND: "scsi-command",
    Opcode.LOGIN_REQUEST: "login-command",
    Opcode.DATA_OUT: "data-receive",
    Opcode.LOGOUT_REQUEST: "logout-command",
    Opcode.NOP_IN: "nop-send",
    Opcode.SCSI_RESPONSE: "scsi-response",
    Opcode.LOGIN_RESPONSE: "login-response",
    Opcode.DATA_IN: "data-send",
    Opcode.LOGOUT_RESPONSE: "logout-response",
    Opcode.R2T: "data-request",
}
WRITE_FLAG = 0x20


def run(address: tuple[str, int]) -> Log:
    """A session from login to logout that does all the loads, one command at a time; returns its PDUs."""
    with Session.connect(address, TARGET, keys={"MaxRecvDataSegmentLength": str(SEGMENT)}) as session:
        for lun, parts in LOADS.items():
            while not session.command(bytes(6), lun).good:
                pass  # unit attentions
            block = 4096 if lun == 5 else 512
            for part in parts:
                for _ in range(part.count):
                    _one(session, part, lun, block)
        session.nop(b"x")
        session.logout()
        return session.log


def _one(session: Session, part: Part, lun: int, block: int) -> None:
    if part.way:
        immediate, unsolicited = WAYS[part.way]
        session.write(0, PATTERN[: part.size], lun, block, immediate=immediate, unsolicited=unsolicited)
    else:
        session.read(0, part.size // block, lun, block)


def commands(write: bool, lun: int | None = None) -> tuple[int, int]:
    """How many reads or writes, and their bytes."""
    parts = [part for n, found in LOADS.items() if lun in (None, n) for part in found if bool(part.way) is write]
    return sum(part.count for part in parts), sum(part.count * part.size for part in parts)


def data_pdus(write: bool) -> int:
    """Data PDUs as iscsiio counts them: every size here is sent in full segments, but for what is smaller than one."""
    parts = [part for found in LOADS.values() for part in found if bool(part.way) is write]
    return sum(part.count * -(-part.size // SEGMENT) for part in parts)


def events(log: Log) -> Counter[str]:
    """How often each probe has to have fired, by what the initiator sent and received, and the rule of transfers."""
    counts = Counter({LABELS[opcode]: count for opcode, count in log.counts().items()})
    unsolicited = sum(
        1 for pdu in log.pdus(Opcode.SCSI_COMMAND) if pdu.flags & WRITE_FLAG and (pdu.data_length or not pdu.final)
    )
    # A read is one transfer; a write has one for all unsolicited data and one for each R2T.
    transfers = commands(False)[0] + unsolicited + log.count(Opcode.R2T)
    return counts + Counter({"xfer-start": transfers, "xfer-done": transfers})
