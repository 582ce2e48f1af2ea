"""Commands whose data-out the data path takes become tasks, as soon as somebody has to see them.

A data path may begin a WRITE by itself and ask for its data (``datapath/data_out.c``). As long as all goes as it should
nobody else learns of it. It is *adopted*, as the task that it would be had it come this way, when a PDU of it does not
go as it should, when a command comes that has to wait for it, when a task management function, a reset, or another
nexus looks at the task set (``Nexus.gather``), when its data does not come in time, and at the end of its connection.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from iscsitools.iscsi.requests.data_out import Sequence
from iscsitools.iscsi.requests.scsi_command import ScsiCommand, cdb_of
from iscsitools.wire.rfc7143 import Pdu
from iscsitools.wire.scsi import Attribute

if TYPE_CHECKING:
    from iscsitools.backstores.base import Request
    from iscsitools.iscsi.connection.connection import Connection

_READ_OR_WRITE: Final = frozenset({0x08, 0x0A, 0x28, 0x2A, 0x88, 0x8A, 0xA8, 0xAA})
"""Operation codes of READ and WRITE. Those that are neither ORDERED nor HEAD OF QUEUE need not know who came before."""


def adopt(conn: Connection, itt: int) -> None:
    """Make a task of the command with that tag, if the data path has it."""
    found = conn.path.take_over(itt)
    session = conn.session
    if found is None or session is None or session.device is None or session.nexus is None:
        return
    bhs, buffer, wanted, received, asked, r2tsn, since, sequences = found
    pdu = Pdu(bhs, b"", memoryview(b""), since)
    command = ScsiCommand(conn, session.nexus, pdu, cdb_of(pdu))
    command.buffer = conn.buffers.take(wanted) if buffer is None else buffer
    command.wanted, command.received, command.asked, command.r2tsn = wanted, received, asked, r2tsn
    command.sequences = [Sequence(*sequence) for sequence in sequences]
    command.taking = True
    conn.commands[itt] = command
    conn.path.tags.add(itt)
    conn.now_owned_by(command)
    if not session.device.bring_in(command):
        command.abort()


def adopt_all(conn: Connection) -> None:
    """Make tasks of all commands that the data path has."""
    for itt, _ in conn.path.pending():
        adopt(conn, itt)
    if conn.path.flights:
        for itt, _ in conn.path.flying():
            adopt_flight(conn, itt)


def adopt_flight(conn: Connection, itt: int) -> None:
    """Make a task of the command with that tag, if the data path has its blocks read or written just now."""
    conn.path.take_flight(itt, partial(_take_flight, conn))


def _take_flight(
    conn: Connection, bhs: bytes, data: bytes | None, durable: bool, r2tsn: int
) -> tuple[Request, memoryview | None] | None:
    """The request that gets the result, and the buffer that a READ fills; None: nobody wants to know any more."""
    session = conn.session
    if session is None or session.device is None or session.nexus is None:
        return None
    pdu = Pdu(bhs, b"", memoryview(b""), conn.path.now)
    command = ScsiCommand(conn, session.nexus, pdu, cdb_of(pdu))
    if not session.device.bring_in(command):
        return None
    conn.commands[command.tag] = command
    conn.path.tags.add(command.tag)
    command.r2tsn = r2tsn
    request = command.go_on(data, durable)
    return request, (request.buffer if data is None else None)


def adopt_before(conn: Connection, pdu: Pdu) -> None:
    """Make tasks of those that a SCSI Command has to find: of its tag, or all when it may have to wait for them."""
    if pdu.flags & 7 > Attribute.SIMPLE or pdu.bhs[32] not in _READ_OR_WRITE:
        adopt_all(conn)
    else:
        adopt(conn, pdu.itt)
