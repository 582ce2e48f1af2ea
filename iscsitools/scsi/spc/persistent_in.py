"""PERSISTENT RESERVE IN (SPC-4 6.15)."""

from __future__ import annotations

import struct

from iscsitools.scsi.core.cdb import u16
from iscsitools.scsi.core.errors import reservation_conflict
from iscsitools.scsi.core.registrations import Port, ReservationType
from iscsitools.scsi.core.task import Task
from iscsitools.scsi.spc.transport_id import encode_transport_id

_SIP_C, _ATP_C, _PTPL_C = 0x08, 0x04, 0x01
_TMV, _PTPL_A = 0x80, 0x01
# PERSISTENT RESERVATION TYPE MASK (SPC-4 table 182): all six types, byte 4 in the high half.
_TYPES = sum(
    1 << (8 + kind if kind < ReservationType.EXCLUSIVE_ACCESS_ALL_REGISTRANTS else 0) for kind in ReservationType
)


def check_persistent(task: Task) -> None:
    """Persistent reservation commands and RESERVE exclude each other (SPC-4 5.13.3)."""
    if task.unit.reservations.holder is not None:
        raise reservation_conflict()


def _reply(task: Task, body: bytes) -> None:
    generation = task.unit.reservations.persistent.generation & 0xFFFFFFFF
    task.reply(struct.pack(">II", generation, len(body)) + body, u16(task.cdb, 7))


def read_keys(task: Task) -> None:
    """READ KEYS: every registered key, one for each registration."""
    keys = task.unit.reservations.persistent.keys.values()
    _reply(task, b"".join(struct.pack(">Q", key) for key in keys))


def read_reservation(task: Task) -> None:
    """READ RESERVATION: the holder's key (0 when all registrants hold it), scope and type; empty when there is none."""
    state = task.unit.reservations.persistent
    if state.kind is None:
        _reply(task, b"")
        return
    key = 0 if state.holder is None else state.keys[state.holder]
    _reply(task, struct.pack(">Q5xBxx", key, state.kind))


def report_capabilities(task: Task) -> None:
    """REPORT CAPABILITIES: SIP_C, ATP_C, and PTPL_C where there is a place to keep registrations."""
    place, state = task.unit.reservation_place, task.unit.reservations.persistent
    can = _SIP_C | _ATP_C | (_PTPL_C if place is not None else 0)
    does = _TMV | (_PTPL_A if state.aptpl else 0)
    task.reply(struct.pack(">HBBHxx", 8, can, does, _TYPES), u16(task.cdb, 7))


def read_full_status(task: Task) -> None:
    """READ FULL STATUS: each registration with its I_T nexus, and whether it holds the reservation."""
    state = task.unit.reservations.persistent
    _reply(task, b"".join(_full_status(task, port, key) for port, key in state.keys.items()))


def _full_status(task: Task, port: Port, key: int) -> bytes:
    state = task.unit.reservations.persistent
    holds = state.holds(port)
    transport_id = encode_transport_id(port.initiator_port)
    kind = state.kind if holds and state.kind is not None else 0
    return struct.pack(">Q4xBB4xHI", key, holds, kind, port.target_port, len(transport_id)) + transport_id
