"""Sessions: the command window of one, and the table of all (RFC 7143 4.2.2.1, 4.4.1, 6.3).

Everything that ties connections together stands here. A session has one connection now; what would have to change
for several is inside this file and in :mod:`iscsitools.iscsi.requests.dispatch`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from iscsitools.probes.lun import unit_number
from iscsitools.scsi.core.nexus import Nexus
from iscsitools.wire.rfc7143 import SERIAL_MASK, Fault, Opcode, Pdu, serial_less

if TYPE_CHECKING:
    from iscsitools.iscsi.connection.connection import Connection
    from iscsitools.iscsi.connection.datapath import DataPath
    from iscsitools.iscsi.login.parameters import Parameters
    from iscsitools.iscsi.login.policy import TargetNode
    from iscsitools.iscsi.session.table import SessionTable
    from iscsitools.scsi.core.device import ScsiDevice

_PDU_COST: Final = 512
"""Bytes that a PDU which is kept costs beside its data."""
_MOST_DATA_OUTS: Final = 1024
"""Data-Outs that a session keeps for commands before their turn."""


@dataclass(slots=True, eq=False)
class HeldRequest:
    """A request that came before its turn, and the unsolicited Data-Outs that came behind it (RFC 7143 4.2.5.2)."""

    conn: Connection
    pdu: Pdu
    data: list[Pdu] = field(default_factory=list)

    def keep(self, pdu: Pdu) -> Pdu:
        """A copy of ``pdu`` that outlives the receive buffer; without its data when there is no memory for it."""
        memory, length = self.conn.memory, len(pdu.data)
        memory.claim(_PDU_COST)
        if memory.reserve(length):
            return Pdu(pdu.bhs, pdu.ahs, memoryview(bytes(pdu.data)), pdu.now, fault=pdu.fault)
        return Pdu(pdu.bhs, pdu.ahs, memoryview(b""), pdu.now, fault=Fault.NO_MEMORY)

    def release(self) -> None:
        """Its memory is not needed any more."""
        self.conn.memory.release(sum(len(pdu.data) + _PDU_COST for pdu in (self.pdu, *self.data)))


@dataclass(slots=True, eq=False)
class Session:
    """One session of an initiator with a target, or with discovery (``target`` None).

    ``ident`` numbers the sessions of this process. ``path``: of its connection, which counts CmdSN and commands for the
    session. ``held``: non-immediate requests that came before their turn; None in the place of one that was aborted.
    """

    ident: int
    initiator: str
    isid: bytes
    tsih: int
    target: TargetNode | None
    parameters: Parameters
    opened: int
    path: DataPath
    chap_user: str = ""
    initiator_alias: str = ""
    nexus: Nexus | None = None
    full_feature: bool = False
    errors: int = 0
    """Commands that ended with a status other than GOOD and CONDITION MET, none of which the data path answers."""
    table: SessionTable | None = None
    connections: dict[int, Connection] = field(default_factory=dict)
    held: dict[int, HeldRequest | None] = field(default_factory=dict)

    @property
    def device(self) -> ScsiDevice | None:
        """The SCSI device behind this session; None for discovery."""
        return self.target.device if self.target is not None else None

    @property
    def address(self) -> str:
        """The initiator's IP address; empty while it has no connection."""
        remotes = (conn.info.remote for conn in self.connections.values())
        return next(remotes, "").rpartition(":")[0].strip("[]")

    @property
    def exp_cmdsn(self) -> int:
        """The next CmdSN in order; those up to MaxCmdSN are taken."""
        return self.path.exp_cmdsn

    @property
    def window(self) -> int:
        """How many commands beyond those that have had their turn the initiator may send.

        What a session can make us hold is bounded by each unit's own limit on tasks, and by this for those that have
        ended and wait for data (``requests.scsi_command``).
        """
        return self.path.window

    @property
    def commands(self) -> int:
        """SCSI commands so far, immediate ones too."""
        return self.path.commands

    def move_to(self, path: DataPath) -> None:
        """Another connection takes over (RFC 7143 6.3.4)."""
        path.continue_numbers(self.path)
        self.path = path

    def place(self, cmdsn: int) -> int:
        """How far ahead of its turn a CmdSN is: 0 is next, up to window - 1 is inside, -1 is outside."""
        ahead = (cmdsn - self.exp_cmdsn) & SERIAL_MASK
        return ahead if ahead < self.window else -1

    def hold(self, conn: Connection, pdu: Pdu) -> None:
        """Keep a request that came before its turn."""
        if pdu.cmdsn not in self.held:
            held = HeldRequest(conn, pdu)
            held.pdu = held.keep(pdu)
            self._enter(pdu.cmdsn, held)

    def _enter(self, cmdsn: int, held: HeldRequest | None) -> None:
        self.held[cmdsn] = held
        self.path.in_order = False

    def hold_data(self, conn: Connection, pdu: Pdu) -> bool:
        """Keep a Data-Out, if it belongs to a command that is held; False: it is one of a flood without end."""
        waiting = [held for held in self.held.values() if held is not None]
        for held in waiting:
            if held.conn is conn and held.pdu.itt == pdu.itt:
                if sum(len(held.data) for held in waiting) >= _MOST_DATA_OUTS:
                    return False
                held.data.append(held.keep(pdu))
        return True

    def take_held(self) -> HeldRequest | None:
        """The held request whose turn it is now, its CmdSN counted; None: there is none."""
        while self.exp_cmdsn in self.held:
            found = self.held.pop(self.exp_cmdsn)
            self.path.advance()
            self.path.in_order = not self.held
            if found is not None:
                found.release()
                return found
        return None

    def give_up(self, itt: int, cmdsn: int) -> bool:
        """Count a CmdSN as received without its command, ``itt``, for ABORT TASK (RFC 7143 11.6.1); False: too late."""
        found = self.held.get(cmdsn)
        if self.place(cmdsn) < 0 or (found is not None and found.pdu.itt != itt):
            return False
        if found is not None:
            found.release()
        self._enter(cmdsn, None)
        self._pass_over()
        return True

    def _pass_over(self) -> None:
        """Count the given up commands whose turn it is; those behind them are taken when the function was answered."""
        while self.exp_cmdsn in self.held and self.held[self.exp_cmdsn] is None:
            del self.held[self.exp_cmdsn]
            self.path.advance()
        self.path.in_order = not self.held

    def give_up_before(self, cmdsn: int, lun: int | None) -> None:
        """End the held commands before ``cmdsn`` to one unit number, or to all (None), without a status.

        For an immediate function that ends several tasks: they came before it (RFC 7143 4.2.3.3).
        """
        for number, found in self.held.items():
            if found is None or found.pdu.opcode != Opcode.SCSI_COMMAND or not serial_less(number, cmdsn):
                continue
            if lun is None or unit_number(found.pdu.lun) == lun:
                found.release()
                self.held[number] = None

    def drop_held(self) -> None:
        """Forget all requests that came before their turn."""
        for found in self.held.values():
            if found is not None:
                found.release()
        self.held.clear()
        self.path.in_order = True
