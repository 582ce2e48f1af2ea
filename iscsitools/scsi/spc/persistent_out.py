"""PERSISTENT RESERVE OUT (SPC-4 6.16, 5.13).

What a service action changes is true when it is kept: see :mod:`iscsitools.scsi.spc.reservation_changes`.
"""

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
from iscsitools.scsi.spc.reservation_changes import RegistrationChange
from iscsitools.scsi.spc.transport_id import decode_transport_id, split_transport_ids
from iscsitools.wire.sense import Asc

_BASIC_LENGTH = 24
_LONGEST = 24 + 4 + 256
_LONGEST_LIST = 8192
_MOST_REGISTRATIONS = 1024
_SPEC_I_PT, _ALL_TG_PT, _APTPL, _UNREG = 0x08, 0x04, 0x01, 0x02


class _Request(NamedTuple):
    state: Registrations
    port: Port
    key: int
    action_key: int


def check_basic(task: Task) -> None:
    """The parameter list is the basic one, 24 bytes."""
    _check_length(task, _BASIC_LENGTH)


def check_register(task: Task) -> None:
    """REGISTER: 24 bytes, or with SPEC_I_PT a list of TransportIDs behind them."""
    _check_length(task, _LONGEST_LIST)


def check_move(task: Task) -> None:
    """REGISTER AND MOVE: 24 bytes and a TransportID of iSCSI's longest."""
    _check_length(task, _LONGEST)


def _check_length(task: Task, most: int) -> None:
    check_persistent(task)
    length = u32(task.cdb, 5)
    if not _BASIC_LENGTH <= length <= most:
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


def _request(task: Task, change: RegistrationChange) -> _Request:
    """The parameter list's keys; for this nexus."""
    check_persistent(task)
    data = task.parameters()
    return _Request(change.state, Port.of(task.nexus), u64(data, 0), u64(data, 8))


def _registered(task: Task, change: RegistrationChange) -> _Request:
    """As _request; raises RESERVATION CONFLICT unless this nexus is registered with the key that it says."""
    request = _request(task, change)
    if request.state.keys.get(request.port) != request.key:
        raise reservation_conflict()
    return request


def _released(change: RegistrationChange, kind: ReservationType | None) -> None:
    """RESERVATIONS RELEASED for the other registrants, if the type was one for registrants (SPC-4 5.13.11.2.2)."""
    if kind in FOR_REGISTRANTS:
        change.tell(list(change.state.keys), Asc.RESERVATIONS_RELEASED)


def _check_aptpl(task: Task, byte: int) -> bool:
    """APTPL, which needs a place where registrations can be kept."""
    asked = bool(task.data_out[byte] & _APTPL)
    if asked and task.unit.reservation_place is None:
        raise invalid_parameter(byte, 0)
    return asked


def _ports(task: Task, request: _Request, names: list[str]) -> list[Port]:
    """The ports that a registration is for: this nexus's own, ``names``', with ALL_TG_PT at every target port."""
    everywhere = task.data_out[20] & _ALL_TG_PT
    at = sorted(task.unit.port_groups.ports) if everywhere else [request.port.target_port]
    return [Port(name, port) for name in [request.port.initiator_port, *names] for port in at]


def _register(task: Task, change: RegistrationChange, request: _Request, names: list[str]) -> None:
    state = request.state
    aptpl = _check_aptpl(task, 20)
    # Of the ports that SPEC_I_PT lists, those that are registered keep their keys (SPC-4 5.13.7).
    ports = [p for p in _ports(task, request, names) if p.initiator_port not in names or p not in state.keys]
    if not request.action_key and state.keys.keys().isdisjoint(ports):
        return  # nothing but GOOD (SPC-4 5.13.7): APTPL stays as it is, too
    if request.action_key:
        if len({*state.keys, *ports}) > _MOST_REGISTRATIONS:
            raise illegal_request(Asc.INSUFFICIENT_REGISTRATION_RESOURCES)
        state.register(ports, request.action_key)
    else:
        for kind in state.unregister([port for port in ports if port in state.keys]):
            _released(change, kind)
    state.aptpl = aptpl


def register(task: Task, change: RegistrationChange) -> None:
    """REGISTER: make, change or (service action key 0) end this nexus's registration; the key must be its own, or 0.

    With SPEC_I_PT a nexus that is not registered yet registers the ports that it lists beside itself.
    """
    request = _request(task, change)
    known = request.state.keys.get(request.port)
    if (known or 0) != request.key:
        raise reservation_conflict()
    names: list[str] = []
    if task.data_out[20] & _SPEC_I_PT:
        if known is not None:
            raise invalid_parameter(20, 3)
        names = _listed(task)
    elif len(task.data_out) != _BASIC_LENGTH:
        raise parameter_list_length_error()
    _register(task, change, request, names)


def _listed(task: Task) -> list[str]:
    """The names in the list of TransportIDs behind the basic parameter list (SPC-4 6.16.3)."""
    data = task.data_out
    if len(data) < _BASIC_LENGTH + 4 or len(data) < _BASIC_LENGTH + 4 + u32(data, 24):
        raise parameter_list_length_error()
    names = split_transport_ids(data[_BASIC_LENGTH + 4 : _BASIC_LENGTH + 4 + u32(data, 24)])
    if names is None:
        raise invalid_parameter(_BASIC_LENGTH + 4)
    return names


def register_and_ignore(task: Task, change: RegistrationChange) -> None:
    """REGISTER AND IGNORE EXISTING KEY: SPEC_I_PT has no place in it."""
    request = _request(task, change)
    if task.data_out[20] & _SPEC_I_PT:
        raise invalid_parameter(20, 3)
    _register(task, change, request, [])


def reserve(task: Task, change: RegistrationChange) -> None:
    """RESERVE: once more by a holder is GOOD when the type is the same."""
    request, kind = _registered(task, change), _kind(task)
    state = request.state
    if state.kind is not None and not (state.holds(request.port) and state.kind == kind):
        raise reservation_conflict()
    state.reserve(request.port, kind)


def release(task: Task, change: RegistrationChange) -> None:
    """RELEASE: by a registrant that does not hold it, GOOD and without effect; of another type, an error."""
    request, kind = _registered(task, change), _kind(task)
    state = request.state
    if not state.holds(request.port):
        return
    if state.kind != kind:
        raise illegal_request(Asc.INVALID_RELEASE_OF_PERSISTENT_RESERVATION)
    state.release()
    _released(change, kind)


def clear(task: Task, change: RegistrationChange) -> None:
    """CLEAR: reservation and all registrations end; the others get RESERVATIONS PREEMPTED."""
    change.tell(_registered(task, change).state.clear(), Asc.RESERVATIONS_PREEMPTED)


def preempt(task: Task, change: RegistrationChange) -> None:
    """PREEMPT: take registrations away by their key, and the reservation if its holder's is among them."""
    _preempt(task, change)


def _preempt(task: Task, change: RegistrationChange, aborts: bool = False) -> list[Port]:
    request, kind = _registered(task, change), _kind(task)
    state, before = request.state, request.state.kind
    if request.action_key == 0 and not state.for_all:
        raise invalid_parameter(8, 7)
    if request.action_key and request.action_key not in state.keys.values():
        raise reservation_conflict()
    lost = state.preempt(request.port, request.action_key, kind, aborts)
    change.tell(lost, Asc.REGISTRATIONS_PREEMPTED)
    if state.kind != before:
        _released(change, before)
    return lost


def preempt_and_abort(task: Task, change: RegistrationChange) -> None:
    """PREEMPT AND ABORT: the tasks of those who were preempted end too, without status as TAS is 0."""
    change.ends = _preempt(task, change, aborts=True)


def register_and_move(task: Task, change: RegistrationChange) -> None:
    """REGISTER AND MOVE: the holder gives the reservation to another initiator port (SPC-4 5.13.8)."""
    request = _registered(task, change)
    data, state = task.data_out, request.state
    if len(data) < _BASIC_LENGTH + u32(data, 20):
        raise parameter_list_length_error()
    aptpl = _check_aptpl(task, 17)
    if u16(data, 18) not in task.unit.port_groups.ports:
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
    state.aptpl = aptpl
