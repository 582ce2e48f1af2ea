"""An event on one line of 80 columns, as ``snoop`` prints it; what is too long is shortened, numbers last of all."""

from __future__ import annotations

import re
from typing import Final

from iscsitools.probes.lun import lun_text
from iscsitools.probes.table import Probe
from iscsitools.trace.events import Event
from iscsitools.trace.selection import address_of
from iscsitools.trace.views.event_details import detail_of
from iscsitools.trace.views.width import LINE, fill, shorten

_TIME: Final = 9
_TIME_OF_DAY: Final = 15
_CLIENT: Final = 15
_CLIENT_LEAST: Final = 8
_LUN: Final = 3
_DETAIL: Final = 26
"""The columns that there are for details beside seconds; numbers fit in there."""

_REST: Final = f"{'CLIENT':<{_CLIENT}} {'EVENT':<14} {'LUN':>{_LUN}} {'ITT':<8} DETAIL"
HEADER: Final = f"{'TIME(s)':>{_TIME}} {_REST}"
HEADER_OF_DAY: Final = f"{'TIME':<{_TIME_OF_DAY}} {_REST}"
"""The same above times of day, ``HH:MM:SS.ffffff``."""

_SHORTER: Final = (
    (" bytes", ""),
    (" residual ", " res "),
    ("RESERVATION CONFLICT", "CONFLICT"),
    ("LOGICAL UNIT", "LUN"),
    ("immediate", "immed."),
    (" at ", "@"),
    (" res ", " r"),
    ("write ", "w "),
    ("read ", "r "),
)
"""What a detail says shorter where it has to, in this order, and only as far as it has to."""
_COMMAND: Final = re.compile(r"(?P<name>.+?)(?P<numbers> \d+\+\d+| [0-9A-F]+h)?")
_CDB_LENGTH: Final = re.compile(r"\(\d+\)")


def narrow_line(event: Event, when: str) -> str:
    """The line of an event. ``when``: its first column, :func:`time_text` or a time of day."""
    lun = lun_text(event.info.lun)
    # A LUN that names no unit is longer than a unit number; the client's column gives it room, and beside times of day
    # it gives room to numbers, too.
    borrowed = min(max(len(lun) - _LUN, 0), _CLIENT - _CLIENT_LEAST)
    lun = shorten(lun, _LUN + borrowed, keep="start")
    behind = f" {event.probe.label:<14} {lun:>{_LUN}} {event.info.itt:<8x} "
    width = _CLIENT - borrowed
    room = LINE - len(when) - 1 - width - len(behind)
    width -= min(max(min(_least(event), _DETAIL) - room, 0), width - _CLIENT_LEAST)
    line = f"{when} {fill(shorten(address_of(event.conn.remote), width), width)}{behind}"
    return (line + narrow_detail(event, LINE - len(line))).rstrip()


def time_text(seconds: float) -> str:
    """A time in nine columns, to the microsecond as long as that has room there."""
    text = f"{seconds:.6f}"
    return f"{text[: max(_TIME, text.index('.'))].rstrip('.'):>{_TIME}}"


def _least(event: Event) -> int:
    """The columns that the event's details need at least, if there is a number among them."""
    text = detail_of(event)
    if not any(letter.isdigit() for letter in text):
        return 0
    if event.probe is Probe.SCSI_COMMAND:
        found = _COMMAND.fullmatch(text)
        return len((found["numbers"] or "").lstrip()) if found is not None else 0
    for long, short in _SHORTER:
        text = text.replace(long, short)
    return len(text)


def narrow_detail(event: Event, width: int) -> str:
    """The event's details in at most ``width`` columns."""
    text = detail_of(event)
    if len(text) <= width:
        return text
    return _command(text, width) if event.probe is Probe.SCSI_COMMAND else _shorter(text, width)


def _shorter(text: str, width: int) -> str:
    for long, short in _SHORTER:
        if len(text) <= width:
            break
        text = text.replace(long, short)
    return shorten(text, width, keep="start")


def _command(text: str, width: int) -> str:
    """A command's name gives way to its LBA and length, or its service action."""
    found = _COMMAND.fullmatch(text)
    assert found is not None
    name, numbers = found["name"], found["numbers"] or ""
    room = width - len(numbers)
    if len(name) > room and numbers:
        name = _CDB_LENGTH.sub("", name)
    if len(name) > room:
        name = name[: room - 1].rstrip() + "+" if room > 0 else ""
    return shorten((name + numbers).lstrip(), width, keep="start")
