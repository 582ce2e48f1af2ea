"""How a command ended (RFC 7143 11.4), and in what words that is said."""

from __future__ import annotations

from dataclasses import dataclass, field

from iscsitools.initiator.pdu import Pdu
from iscsitools.wire.operations import name_of
from iscsitools.wire.scsi import Status, status_name
from iscsitools.wire.sense import sense_text


@dataclass
class Result:
    """How a command ended; ``str()`` of it is one line that names the command, its status and its sense data.

    ``response`` is 0 when the target completed the command (RFC 7143 11.4.3), ``data`` what was read. ``residual``, in
    bytes, is positive when less was moved than asked, negative when more was there. ``pdus``: all that the target sent
    for it, with their data.
    """

    status: int
    response: int = 0
    sense: bytes = b""
    data: bytes = b""
    residual: int = 0
    pdus: list[Pdu] = field(default_factory=list, repr=False)
    cdb: bytes = b""

    @property
    def good(self) -> bool:
        """Whether status is GOOD and the target completed the command."""
        return self.status == Status.GOOD and self.response == 0

    @property
    def sense_code(self) -> tuple[int, int, int]:
        """Sense key, ASC and ASCQ of fixed-format sense data (SPC-4 4.5.3)."""
        if len(self.sense) < 14:
            return (0, 0, 0)
        return (self.sense[2] & 0x0F, self.sense[12], self.sense[13])

    def __str__(self) -> str:
        if self.response:
            return f"{name_of(self.cdb)}: response 0x{self.response:02x}, not completed at the target"
        key, asc, ascq = self.sense_code
        sense = f", {sense_text(key << 16 | asc << 8 | ascq)}" if self.sense else ""
        return f"{name_of(self.cdb)}: {status_name(self.status)}{sense}"
