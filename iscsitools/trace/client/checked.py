"""What a server tells of its sessions and of itself, as it stands in recordings: its check, and the choice of some."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from iscsitools.trace.protocol import Message, TraceError, printable
from iscsitools.trace.selection import Selection

STATUS: Final = ("time", "sessions", "connections", "cpu")
"""What a recording keeps of a server's status: numbers. What is under way follows from the events."""


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    # JSON as Python reads it knows NaN, for which no comparison holds, and infinity.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1 << 80


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_luns(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(lun, int) and _is_number(lun) for lun in value)


def _are_keys(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_text(v) or _is_number(v) for v in value.values())


FIELDS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "id": _is_text,
    "initiator": _is_text,
    "alias": _is_text,
    "addresses": _are_texts,
    "target": _is_text,
    "isid": _is_text,
    "tsih": _is_text,
    "age": _is_number,
    "chap": _is_text,
    "header_digest": _is_text,
    "data_digest": _is_text,
    "luns": _are_luns,
    "commands": _is_number,
    "read_bytes": _is_number,
    "written_bytes": _is_number,
    "keys": _are_keys,
    "trouble": _are_texts,
}
"""The fields of a session, which docs/trace-protocol.md explains, in their order, and what each may be."""


def sessions_of(told: Any) -> list[Message]:
    """Check a list of sessions. Raises TraceError when it cannot be one."""
    if not isinstance(told, list) or not all(isinstance(session, dict) for session in told):
        raise TraceError("not a trace: a session without what belongs to it")
    # Servers and recordings of older versions tell of no trouble.
    sessions = [session | {"trouble": session.get("trouble", [])} for session in told]
    if not all(map(_is_session, sessions)):
        raise TraceError("not a trace: a session without what belongs to it")
    return [_printable(session) for session in sessions]


def _printable(told: Any) -> Any:
    """The same without control characters in its texts, which a terminal would obey."""
    if isinstance(told, str):
        return printable(told)
    if isinstance(told, list):
        return [_printable(value) for value in told]
    return {key: _printable(value) for key, value in told.items()} if isinstance(told, dict) else told


def _is_session(told: Message) -> bool:
    return all(name in told and fits(told[name]) for name, fits in FIELDS.items())


def status_of(told: Any) -> Message:
    """Check a server's status: the numbers that :data:`STATUS` names. Raises TraceError when it cannot be one."""
    if not isinstance(told, dict) or not all(_is_number(told.get(name)) for name in STATUS):
        raise TraceError("not a trace: a server's status without its numbers")
    return told


def live_status_of(told: Any) -> Message:
    """Check the status of a running server, which may tell less than we know. Raises TraceError for nonsense."""
    if not isinstance(told, dict) or not all(_is_number(told[name]) for name in STATUS if name in told):
        raise TraceError("not a trace: a server's status without its numbers")
    faulty = told.get("faulty", [])
    if not isinstance(faulty, list) or not all(map(_is_unit, faulty)):
        raise TraceError("not a trace: faulty units that are none")
    in_flight = told.get("in_flight", [])
    if not isinstance(in_flight, list) or not all(map(_is_in_flight, in_flight)):
        raise TraceError("not a trace: commands in flight without what belongs to them")
    return told


def _is_unit(told: Any) -> bool:
    return isinstance(told, dict) and _is_text(told.get("target")) and _is_number(told.get("lun"))


def _is_in_flight(told: Any) -> bool:
    return (
        isinstance(told, dict)
        and all(_is_text(told.get(name)) for name in ("remote", "initiator", "target"))
        and all(isinstance(told.get(name), int) and _is_number(told[name]) for name in ("lun", "commands"))
    )


class _Connection(NamedTuple):
    """By what a session is selected."""

    remote: str
    target: str
    initiator: str


def selected(sessions: Iterable[Message], selection: Selection) -> list[Message]:
    """Those of a client, of a target, and, with a LUN, those that have sent a command to this unit.

    The probes of ``selection`` do not matter.
    """
    return [session for session in sessions if _selects(session, selection)]


def _selects(session: Message, selection: Selection) -> bool:
    addresses = session["addresses"] or [""]  # it may have no connection left
    whose = (_Connection(address, session["target"], session["initiator"]) for address in addresses)
    return any(map(selection.admits, whose)) and (selection.lun is None or selection.lun in session["luns"])
