"""PERSISTENT RESERVE OUT (SPC-4 6.16, 5.13)."""

from __future__ import annotations

from typing import NamedTuple

from iscsitools.scsi.core import task_management as management
from iscsitools.scsi.core.cdb import u16, u32, u64
from iscsitools.scsi.core.command import Call
from iscsitools.scsi.core.errors import (
    illegal_request,
    invalid_field,
    invalid_parameter,
    parameter_list_length_error,
    reservation_conflict,
)
from iscsitools.scsi.core.registrations import FOR_REGISTRANTS, Port, Registrations, ReservationType
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


def check_basic(call: Call) -> None:
    """The parameter list is the basic one, 24 bytes."""
    check_persistent(call)
    length = u32(call.task.cdb, 5)
    if length != _BASIC_LENGTH:
        raise parameter_list_length_error()
    call.take(length)


def check_move(call: Call) -> None:
    """REGISTER AND MOVE: 24 bytes and a TransportID of iSCSI's longest."""
    check_persistent(call)
    length = u32(call.task.cdb, 5)
    if not _BASIC_LENGTH <= length <= _LONGEST:
        raise parameter_list_length_error()
    call.take(length)


def check_typed(call: Call) -> None:
    """As check_basic; and scope and type, which RESERVE, RELEASE and PREEMPT use, must be ones that exist."""
    check_basic(call)
    _kind(call)


def _kind(call: Call) -> ReservationType:
    value = call.task.cdb[2]
    if value >> 4:
        raise invalid_field(2, 7)
    if value not in ReservationType.__members__.values():
        raise invalid_field(2, 3)
    return ReservationType(value)


def _request(call: Call) -> _Request:
    """The parameter list's keys; for this nexus."""
    check_persistent(call)
    data = call.parameters()
    return _Request(call.unit.reservations.persistent, Port.of(call.task.nexus), u64(data, 0), u64(data, 8))


def _registered(call: Call) -> _Request:
    """As _request; raises RESERVATION CONFLICT unless this nexus is registered with the key that it says."""
    request = _request(call)
    if request.state.keys.get(request.port) != request.key:
        raise reservation_conflict()
    return request


def _notify(call: Call, ports: list[Port], asc: Asc) -> None:
    """A unit attention for those of ``ports`` that are there now, this nexus left out."""
    for nexus, itl in call.unit.itls.items():
        if nexus is not call.task.nexus and Port.of(nexus) in ports:
            itl.attention(asc)


def _released(call: Call, state: Registrations, kind: ReservationType | None) -> None:
    """RESERVATIONS RELEASED for the other registrants, if the type was one for registrants (SPC-4 5.13.11.2.2)."""
    if kind in FOR_REGISTRANTS:
        _notify(call, list(state.keys), Asc.RESERVATIONS_RELEASED)


def _check_flags(flags: int) -> None:
    """None of SPEC_I_PT, ALL_TG_PT and APTPL is supported, as REPORT CAPABILITIES says."""
    for mask, bit in ((_SPEC_I_PT, 3), (_ALL_TG_PT, 2), (_APTPL, 0)):
        if flags & mask:
            raise invalid_parameter(20, bit)


def _register(call: Call, request: _Request) -> None:
    state, port = request.state, request.port
    if request.action_key:
        if port not in state.keys and len(state.keys) >= _MOST_REGISTRATIONS:
            raise illegal_request(Asc.INSUFFICIENT_REGISTRATION_RESOURCES)
        state.register(port, request.action_key)
    elif port in state.keys:
        _released(call, state, state.unregister(port))
    call.unit.refresh()


def register(call: Call) -> None:
    """REGISTER: make, change or (service action key 0) end this nexus's registration; the key must be its own, or 0."""
    request = _request(call)
    if request.state.keys.get(request.port, 0) != request.key:
        raise reservation_conflict()
    _check_flags(call.task.data_out[20])
    _register(call, request)


def register_and_ignore(call: Call) -> None:
    """REGISTER AND IGNORE EXISTING KEY."""
    request = _request(call)
    _check_flags(call.task.data_out[20])
    _register(call, request)


def reserve(call: Call) -> None:
    """RESERVE: once more by a holder is GOOD when the type is the same."""
    request, kind = _registered(call), _kind(call)
    state = request.state
    if state.kind is not None and not (state.holds(request.port) and state.kind == kind):
        raise reservation_conflict()
    state.reserve(request.port, kind)
    call.unit.refresh()


def release(call: Call) -> None:
    """RELEASE: by a registrant that does not hold it, GOOD and without effect; of another type, an error."""
    request, kind = _registered(call), _kind(call)
    state = request.state
    if not state.holds(request.port):
        return
    if state.kind != kind:
        raise illegal_request(Asc.INVALID_RELEASE_OF_PERSISTENT_RESERVATION)
    state.release()
    _released(call, state, kind)
    call.unit.refresh()


def clear(call: Call) -> None:
    """CLEAR: reservation and all registrations end; the others get RESERVATIONS PREEMPTED."""
    _notify(call, _registered(call).state.clear(), Asc.RESERVATIONS_PREEMPTED)
    call.unit.refresh()


def preempt(call: Call) -> None:
    """PREEMPT: take registrations away by their key, and the reservation if its holder's is among them."""
    _preempt(call)


def _preempt(call: Call) -> list[Port]:
    request, kind = _registered(call), _kind(call)
    state, before = request.state, request.state.kind
    if request.action_key == 0 and not state.for_all:
        raise invalid_parameter(8, 7)
    if request.action_key and request.action_key not in state.keys.values():
        raise reservation_conflict()
    lost = state.preempt(request.port, request.action_key, kind)
    _notify(call, lost, Asc.REGISTRATIONS_PREEMPTED)
    if state.kind != before:
        _released(call, state, before)
    call.unit.refresh()
    return lost


def preempt_and_abort(call: Call) -> None:
    """PREEMPT AND ABORT: the tasks of those who were preempted end too, without status as TAS is 0."""
    lost = _preempt(call)
    unit, own = call.unit, call.task.nexus
    others = [c for c in unit.tasks.calls if c.task.nexus is not own and Port.of(c.task.nexus) in lost]
    management.tell_owners(management.abort_calls(unit, others))


def register_and_move(call: Call) -> None:
    """REGISTER AND MOVE: the holder gives the reservation to another initiator port (SPC-4 5.13.8)."""
    request = _registered(call)
    data, state = call.task.data_out, request.state
    if len(data) < _BASIC_LENGTH + u32(data, 20):
        raise parameter_list_length_error()
    if data[17] & _APTPL:
        raise invalid_parameter(17, 0)
    if u16(data, 18) not in call.device.target_ports:
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
    call.unit.refresh()
