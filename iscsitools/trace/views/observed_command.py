"""One SCSI command as its events tell it, and which commands a task management function ends."""

from __future__ import annotations

from dataclasses import dataclass, field

from iscsitools.probes.firing import XFER_READ
from iscsitools.trace.events import ConnectionStrings, Event
from iscsitools.trace.views import header_fields


@dataclass(slots=True, eq=False)
class ObservedCommand:
    """One SCSI command. Times in nanoseconds; ``sense`` is key << 16 | ASC << 8 | ASCQ."""

    conn: ConnectionStrings
    lun: int
    itt: int
    cdb: bytes
    flags: int
    start: int
    end: int = 0
    status: int = 0
    response: int = 0
    sense: int = 0
    aborted: bool = False
    data_in: int = 0
    """Bytes of Data-In that were sent."""
    data_out: int = 0
    """Bytes of immediate data and Data-Out that were received."""
    sending: int = 0
    waiting: int = 0
    open_transfers: int = 0
    opened: int = 0
    kind: int = XFER_READ
    """Of the transfers that are open."""
    done: int = 0
    """When the last transfer ended; a read's may be after ``end``, which is the status's way into the output."""
    events: list[Event] = field(default_factory=list)

    @property
    def operation(self) -> str:
        """``read``, ``write`` or "", by the command's flags."""
        return header_fields.operation(self.flags)

    @property
    def latency(self) -> int:
        """From the command to its status."""
        return self.end - self.start

    @property
    def failed(self) -> bool:
        """Ended otherwise than with GOOD or CONDITION MET."""
        return self.aborted or self.response != 0 or self.status not in (0x00, 0x04)

    @property
    def total(self) -> int:
        """From the command to its status or the end of its last transfer, whichever is later."""
        return max(self.end, self.done) - self.start

    @property
    def backstore(self) -> int:
        """The time in which no transfer was open."""
        return self.total - self.sending - self.waiting


@dataclass(slots=True)
class Management:
    """A Task Management Function Request (RFC 7143 11.5): who asked, for what, and the Referenced Task Tag."""

    conn: ConnectionStrings
    function: int
    lun: int
    referenced: int

    def names(self, command: ObservedCommand) -> bool:
        """Whether the function ends this command (RFC 7143 11.5.1); a target reset has no LUN."""
        conn, asker = command.conn, self.conn
        same_session = port(conn) == port(asker) and conn.tsih == asker.tsih
        same_lun = command.lun == self.lun and conn.target == asker.target
        match self.function:
            case 1:
                return same_session and command.itt == self.referenced
            case 2:
                return same_session and same_lun
            case 4 | 5:
                return same_lun
            case 6 | 7:
                return conn.target == asker.target
        return False


def port(conn: ConnectionStrings) -> tuple[str, str, str]:
    """The nexus of an initiator port with a target, by its names: a new session of it takes the old one's place."""
    return conn.target, conn.initiator, conn.isid
