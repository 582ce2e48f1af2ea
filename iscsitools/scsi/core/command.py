"""What a command is to the device server: its entry of the operation code table, and one call of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Flag, auto
from typing import TYPE_CHECKING

from iscsitools.scsi.core.cdb import Buffer
from iscsitools.scsi.core.errors import illegal_request, invalid_field, parameter_list_length_error
from iscsitools.scsi.core.task import Task
from iscsitools.wire.sense import Asc

if TYPE_CHECKING:
    from iscsitools.scsi.core.device import ScsiDevice
    from iscsitools.scsi.core.itl_nexus import ItlNexus
    from iscsitools.scsi.core.job import Job
    from iscsitools.scsi.core.unit import LogicalUnit

Work = Callable[[], object]
"""Medium work: may block, runs in a thread, touches the backstore and the call's buffers only.

What it returns does not count, for it is mostly a backstore's method, which may return anything.
"""


class Flags(Flag):
    """How the device server treats a command before it runs."""

    NONE = 0
    MEDIUM = auto()
    """Needs a medium: else NOT READY."""
    WRITES = auto()
    """Changes the medium: refused when the unit is write-protected."""
    EXCLUSIVE = auto()
    """Runs alone in its task set: reads and writes as one step (SBC-3 5.2), or changes how others write."""
    IGNORES_ATTENTION = auto()
    """Is not answered with a pending unit attention (SAM-5 5.14)."""
    SHARED = auto()
    """Allowed whoever holds a reservation (SPC-4 table 66, SBC-3 table 13)."""
    READS = auto()
    """Allowed under another's persistent reservation of a Write Exclusive type."""
    BEFORE_RESERVE = auto()
    """Allowed also while another holds the unit with RESERVE (SPC-2 table 10)."""


@dataclass(slots=True, eq=False)
class Call:
    """One task on its way through the device server; the task set holds these.

    ``lba`` and ``blocks`` are the range that ``check`` found, for ``run`` and for error reports.
    """

    task: Task
    device: ScsiDevice
    unit: LogicalUnit
    itl: ItlNexus
    command: Command
    lba: int = 0
    blocks: int = 0
    alone: bool = False
    """It waits for every task before it (see taskset)."""
    barrier: bool = False
    """SIMPLE tasks after it wait for its end (see taskset)."""
    ready: bool = False
    """execute() was called: data-out is there."""
    started: bool = False
    """It left the dormant state; its medium work may be in a thread."""
    waited: bool = False
    """It was dormant behind other tasks, which may have changed the unit's state."""
    fence: bool = False
    """It was aborted while a thread writes for it; what uses blocks waits for its end (see taskset)."""
    result: Buffer | None = None
    """Data-in that the medium work made; None: what ``run`` has set stands."""
    job: Job | None = None
    """Its medium work, when a thread is to do it."""

    @property
    def uses_blocks(self) -> bool:
        """Whether it reads or changes blocks of the medium."""
        return bool(self.blocks) or self.command.writes

    def reply(self, data: Buffer, allocation_length: int) -> None:
        """Return ``data`` as data-in, truncated to the CDB's ALLOCATION LENGTH (SPC-4 4.2.5.6)."""
        self.task.data_in = data[:allocation_length]

    def take(self, length: int) -> None:
        """Ask for ``length`` bytes of data-out."""
        self.task.data_out_length = self.task.transfer_length = length

    def parameters(self) -> memoryview:
        """The parameter list, which must have come whole: else PARAMETER LIST LENGTH ERROR."""
        data = self.task.data_out
        if len(data) < self.task.data_out_length:
            raise parameter_list_length_error()
        return data[: self.task.data_out_length]


def no_check(call: Call) -> None:
    """The check of commands of which the usage bitmap says everything."""


@dataclass(slots=True, eq=False)
class Command:
    """An entry of the operation code table.

    ``usage`` is the CDB usage data (SPC-4 6.34.3): a bit of the CDB that is 0 there must be 0 in a CDB, or it is
    answered with INVALID FIELD IN CDB; bits of ``ignored`` are exempt. ``check`` runs in accept(), ``run`` in
    execute(); ``run`` returns medium work, or None when the command is complete. The last fields are looked up for
    every task, so they are plain copies of what the others say.
    """

    name: str
    opcode: int
    service_action: int | None
    usage: bytes
    run: Callable[[Call], Work | None]
    flags: Flags = Flags.NONE
    check: Callable[[Call], None] = no_check
    ignored: bytes = b""
    length: int = field(init=False)
    """The CDB's length in bytes."""
    needs_medium: bool = field(init=False)
    writes: bool = field(init=False)
    exclusive: bool = field(init=False)
    ignores_attention: bool = field(init=False)
    _unknown: int = field(init=False)

    def __post_init__(self) -> None:
        self.length = len(self.usage)
        self.needs_medium = Flags.MEDIUM in self.flags
        self.writes = Flags.WRITES in self.flags
        self.exclusive = Flags.EXCLUSIVE in self.flags
        self.ignores_attention = Flags.IGNORES_ATTENTION in self.flags
        known = int.from_bytes(self.usage, "big") | int.from_bytes(self.ignored, "big")
        self._unknown = ~known & ((1 << 8 * (self.length - 1)) - 1)

    def check_usage(self, cdb: bytes) -> None:
        """Raise INVALID FIELD IN CDB, pointing at the first bit that this command does not know."""
        length = self.length
        if len(cdb) < length:
            raise invalid_field(len(cdb))
        unknown = int.from_bytes(cdb[:length], "big") & self._unknown
        if unknown:
            place = unknown.bit_length() - 1
            raise invalid_field(length - 1 - place // 8, place % 8)


class CommandTable:
    """The operation code table: finds a CDB's command, and lists them for REPORT SUPPORTED OPERATION CODES."""

    def __init__(self, commands: Iterable[Command]) -> None:
        self._plain: dict[int, Command] = {}
        self._actions: dict[int, dict[int, Command]] = {}
        for command in commands:
            if command.service_action is None:
                self._plain[command.opcode] = command
            else:
                self._actions.setdefault(command.opcode, {})[command.service_action] = command

    def __iter__(self) -> Iterator[Command]:
        """By operation code, then service action."""
        for opcode in sorted({*self._plain, *self._actions}):
            if opcode in self._plain:
                yield self._plain[opcode]
            for action in sorted(self._actions.get(opcode, ())):
                yield self._actions[opcode][action]

    def has_actions(self, opcode: int) -> bool:
        """Whether the operation code is divided by service actions."""
        return opcode in self._actions

    def get(self, opcode: int, service_action: int | None) -> Command | None:
        """The entry, if there is one."""
        if service_action is None:
            return self._plain.get(opcode)
        return self._actions.get(opcode, {}).get(service_action)

    def find(self, cdb: bytes) -> Command:
        """The command of a CDB; raises INVALID COMMAND OPERATION CODE, or INVALID FIELD IN CDB for a service action."""
        command = self._plain.get(cdb[0]) if cdb else None
        if command is not None:
            return command
        actions = self._actions.get(cdb[0]) if len(cdb) > 1 else None
        if actions is None:
            raise illegal_request(Asc.INVALID_COMMAND_OPERATION_CODE)
        command = actions.get(cdb[1] & 0x1F)
        if command is None:
            raise invalid_field(1, 4)
        return command
