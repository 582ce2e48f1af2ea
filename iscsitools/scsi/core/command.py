"""The operation code table: its rows, and how a CDB finds its row.

The rows themselves are joined in :mod:`iscsitools.scsi.commands`; nothing here knows one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Flag, auto
from typing import Any, Final

from iscsitools.scsi.core.errors import illegal_request, invalid_field
from iscsitools.scsi.core.executor import Work
from iscsitools.wire.sense import Asc

ACTION_MASK: Final = 0x1F
"""SERVICE ACTION in byte 1 of a CDB (SPC-4 4.2.2.3)."""


class Flags(Flag):
    """How the device server treats a command before it runs."""

    NONE = 0
    MEDIUM = auto()
    """Needs a medium: else NOT READY."""
    WRITES = auto()
    """Changes the medium: refused when the unit is write-protected; excludes all others from its blocks."""
    EXCLUSIVE = auto()
    """Runs alone in its task set: it changes how others write, or the whole medium."""
    IGNORES_ATTENTION = auto()
    """Is not answered with a pending unit attention (SAM-5 5.14)."""
    SHARED = auto()
    """Allowed whoever holds a reservation (SPC-4 table 66, SBC-3 table 13)."""
    READS = auto()
    """Allowed under another's persistent reservation of a Write Exclusive type; keeps writes from its blocks."""
    BEFORE_RESERVE = auto()
    """Allowed also while another holds the unit with RESERVE (SPC-2 table 10)."""
    IN_ANY_STATE = auto()
    """Allowed whatever the access state of the target port is (SPC-4 5.15.2.4.5 to 5.15.2.4.7)."""
    IN_STANDBY = auto()
    """Allowed at a target port in the standby state: those of SPC-4 5.15.2.4.4, and READ CAPACITY. Linux takes a path
    whose size it could not read for an empty disk, and goes on with that when the port has become active."""
    ESSENTIAL = auto()
    """Finds room in a full task set: who the unit is, how it is, and the fencing of others."""


def no_check(task: Any) -> None:
    """The check of commands of which the usage bitmap says everything."""


def never_allowed(cdb: bytes, persistent: bool) -> bool:
    """A reservation's rule for commands with no exception to it."""
    return False


@dataclass(slots=True, eq=False)
class Command:
    """A row of the operation code table.

    ``usage`` is the CDB usage data (SPC-4 6.34.3): a bit of the CDB that is 0 there must be 0 in a CDB, or it is
    answered with INVALID FIELD IN CDB; bits of ``ignored`` are exempt. The functions take the task (core.task, which
    stands above this module). ``check`` says what is wrong with the CDB now: when the command comes, and again before
    it runs if the unit's state has changed. ``locate`` finds the blocks that only the parameter list names, once that
    is there. ``run`` returns medium work, or None when the command is complete. ``allowed`` are exceptions from a
    reservation: (cdb, whether it is a persistent one). The last fields are looked up for every task, so they are plain
    copies of what the others say.
    """

    name: str
    opcode: int
    service_action: int | None
    usage: bytes
    run: Callable[[Any], Work | None]
    flags: Flags = Flags.NONE
    check: Callable[[Any], None] = no_check
    ignored: bytes = b""
    locate: Callable[[Any], None] = no_check
    allowed: Callable[[bytes, bool], bool] = never_allowed
    length: int = field(init=False)
    """The CDB's length in bytes."""
    needs_medium: bool = field(init=False)
    reads: bool = field(init=False)
    writes: bool = field(init=False)
    exclusive: bool = field(init=False)
    essential: bool = field(init=False)
    ignores_attention: bool = field(init=False)
    _unknown: int = field(init=False)

    def __post_init__(self) -> None:
        self.length = len(self.usage)
        self.needs_medium = Flags.MEDIUM in self.flags
        self.reads = Flags.READS in self.flags
        self.writes = Flags.WRITES in self.flags
        self.exclusive = Flags.EXCLUSIVE in self.flags
        self.essential = Flags.ESSENTIAL in self.flags
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
        command = actions.get(cdb[1] & ACTION_MASK)
        if command is None:
            raise invalid_field(1, 4)
        return command


@dataclass(frozen=True, slots=True)
class CommandSet:
    """What makes a device server of a kind, for instance a disk: it is handed to the unit and to the device.

    ``parts``: makes the state that the commands keep in a unit (``core.unit.Part``), in this order. ``no_unit``: sets
    the result of a task for a LUN that names no unit, or raises ScsiError; it takes the task and the units. ``atomic``:
    the commands that a unit has besides where something makes its writes atomic; ``encrypted``: where its backstore can
    change the key that it encrypts with.
    """

    fully_provisioned: CommandTable
    thin: CommandTable
    parts: tuple[Callable[[Any], Any], ...]
    no_unit: Callable[[Any, Any], None]
    atomic: tuple[Command, ...] = ()
    encrypted: tuple[Command, ...] = ()
