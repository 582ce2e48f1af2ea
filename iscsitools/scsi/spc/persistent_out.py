"""PERSISTENT RESERVE OUT (SPC-4 6.16, 5.13)."""

from __future__ import annotations

from typing import NamedTuple

from iscsitools.scsi.core.cdb import u16, u32, u64
from iscsitools.scsi.core.errors import (
    illegal_request,
    invalid_field,
    invalid_parameter,
    parameter_list_length_error,
    reservation_conflict,
)
from iscsitools.scsi.core.registrations import FOR_REGISTRANTS, Port, Registrations, ReservationType
from iscsitools.scsi.core.task import Task
from iscsitools.scsi.spc.persistent_in import check_persistent
from iscsitools.scsi.spc.transport_id import decode_transport_id
from iscsitools.wire.sense import Asc

_BASIC_LENGTH = 24
_LONGEST = 24 + 4 + 256
_MOST_REGISTRATIONS = 1024
_SPEC_I_PT, _ALL_TG_PT, _APTPL, _UNREG = 0x08, 0x04, 0x01, 0x02


class _Request(NamedTuple):
    state: Registrations
    port: Port
    key: int
    action_key: int


def check_basic(task: Task) -> None:
    """The parameter list is the basic one, 24 bytes."""
    check_persistent(task)
    length = u32(task.cdb, 5)
    if length != _BASIC_LENGTH:
        raise parameter_list_length_error()
    task.take(length)


def check_move(task: Task) -> None:
    """REGISTER AND MOVE: 24 bytes and a TransportID of iSCSI's longest."""
    check_persistent(task)
    length = u32(task.cdb, 5)
    if not _BASIC_LENGTH <= length <= _LONGEST:
        raise parameter_list_length_error()
    task.take(length)


def check_typed(task: Task) -> None:
    """As check_basic; and scope and type, which RESERVE, RELEASE and PREEMPT use, must be ones that exist."""
    check_basic(task)
    _kind(task)


def _kind(task: Task) -> ReservationType:
    value = task.cdb[2]
    if value >> 4:
        raise invalid_field(2, 7)
    if value not in ReservationType.__members__.values():
        raise invalid_field(2, 3)
    return ReservationType(value)


def _request(task: Task) -> _Request:
    """The parameter list's keys; for this nexus."""
    check_persistent(task)
    data = task.parameters()
    return _Request(task.unit.reservations.persistent, Port.of(task.nexus), u64(data, 0), u64(data, 8))


def _registered(task: Task) -> _Request:
    """As _request; raises RESERVATION CONFLICT unless this nexus is registered with the key that it says."""
    request = _request(task)
    if request.state.keys.get(request.port) != request.key:
        raise reservation_conflict()
    return request


def _notify(task: Task, ports: list[Port], asc: Asc) -> None:
    """A unit attention for those of ``ports`` that are there now, this nexus left out."""
    for nexus, itl in task.unit.itls.items():
        if nexus is not task.nexus and Port.of(nexus) in ports:
            itl.attention(asc)


def _released(task: Task, state: Registrations, kind: ReservationType | None) -> None:
    """RESERVATIONS RELEASED for the other registrants, if the type was one for registrants (SPC-4 5.13.11.2.2)."""
    if kind in FOR_REGISTRANTS:
        _notify(task, list(state.keys), Asc.RESERVATIONS_RELEASED)


def _check_flags(flags: int) -> None:
    """None of SPEC_I_PT, ALL_TG_PT and APTPL is supported, as REPORT CAPABILITIES says."""
    for mask, bit in ((_SPEC_I_PT, 3), (_ALL_TG_PT, 2), (_APTPL, 0)):
        if flags & mask:
            raise invalid_parameter(20, bit)


def _register(task: Task, request: _Request) -> None:
    state, port = request.state, request.port
    if request.action_key:
        if port not in state.keys and len(state.keys) >= _MOST_REGISTRATIONS:
            raise illegal_request(Asc.INSUFFICIENT_REGISTRATION_RESOURCES)
        state.register(port, request.action_key)
    elif port in state.keys:
        _released(task, state, state.unregister(port))
    task.unit.refresh()


def register(task: Task) -> None:
    """REGISTER: make, change or (service action key 0) end this nexus's registration; the key must be its own, or 0."""
    request = _request(task)
    if request.state.keys.get(request.port, 0) != request.key:
        raise reservation_conflict()
    _check_flags(task.data_out[20])
    _register(task, request)


def register_and_ignore(task: Task) -> None:
    """REGISTER AND IGNORE EXISTING KEY."""
    request = _request(task)
    _check_flags(task.data_out[20])
    _register(task, request)


def reserve(task: Task) -> None:
    """RESERVE: once more by a holder is GOOD when the type is the same."""
    request, kind = _registered(task), _kind(task)
    state = request.state
    if state.kind is not None and not (state.holds(request.port) and state.kind == kind):
        raise reservation_conflict()
    state.reserve(request.port, kind)
    task.unit.refresh()


def release(task: Task) -> None:
    """RELEASE: by a registrant that does not hold it, GOOD and without effect; of another type, an error."""
    request, kind = _registered(task), _kind(task)
    state = request.state
    if not state.holds(request.port):
        return
    if state.kind != kind:
        raise illegal_request(Asc.INVALID_RELEASE_OF_PERSISTENT_RESERVATION)
    state.release()
    _released(task, state, kind)
    task.unit.refresh()


def clear(task: Task) -> None:
    """CLEAR: reservation and all registrations end; the others get RESERVATIONS PREEMPTED."""
    _notify(task, _registered(task).state.clear(), Asc.RESERVATIONS_PREEMPTED)
    task.unit.refresh()


def preempt(task: Task) -> None:
    """PREEMPT: take registrations away by their key, and the reservation if its holder's is among them."""
    _preempt(task)


def _preempt(task: Task) -> list[Port]:
    request, kind = _registered(task), _kind(task)
    state, before = request.state, request.state.kind
    if request.action_key == 0 and not state.for_all:
        raise invalid_parameter(8, 7)
    if request.action_key and request.action_key not in state.keys.values():
        raise reservation_conflict()
    lost = state.preempt(request.port, request.action_key, kind)
    _notify(task, lost, Asc.REGISTRATIONS_PREEMPTED)
    if state.kind != before:
        _released(task, state, before)
    task.unit.refresh()
    return lost


def preempt_and_abort(task: Task) -> None:
    """PREEMPT AND ABORT: the tasks of those who were preempted end too, without status as TAS is 0."""
    lost = _preempt(task)
    unit, own = task.unit, task.nexus
    others = [other for other in unit.tasks if other.nexus is not own and Port.of(other.nexus) in lost]
    for other in unit.tasks.abort(others):
        other.dropped()


def register_and_move(task: Task) -> None:
    """REGISTER AND MOVE: the holder gives the reservation to another initiator port (SPC-4 5.13.8)."""
    request = _registered(task)
    data, state = task.data_out, request.state
    if len(data) < _BASIC_LENGTH + u32(data, 20):
        raise parameter_list_length_error()
    if data[17] & _APTPL:
        raise invalid_parameter(17, 0)
    if u16(data, 18) not in task.unit.target_ports:
        raise invalid_parameter(18, 7)
    name = decode_transport_id(data[24 : 24 + u32(data, 20)])
    if name is None:
        raise invalid_parameter(24)
    to = Port(name, u16(data, 18))
    if request.action_key == 0 or to == request.port:
        raise invalid_parameter(8 if request.action_key == 0 else 24)
    if state.for_all or not state.holds(request.port):
        raise reservation_conflict()
    state.move(request.port, to, request.action_key, bool(data[17] & _UNREG))
    task.unit.refresh()
