"""``sessions``: who is logged in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from iscsitools.trace.client.checked import FIELDS
from iscsitools.trace.protocol import printable
from iscsitools.trace.views.clock import Times, day_text
from iscsitools.trace.views.report import INDENT, Report
from iscsitools.trace.views.width import sentence

KEYS: Final = (
    "MaxRecvDataSegmentLength", "InitiatorMaxRecvDataSegmentLength", "MaxBurstLength", "FirstBurstLength", "InitialR2T",
    "ImmediateData", "MaxOutstandingR2T", "MaxConnections", "ErrorRecoveryLevel", "DefaultTime2Wait",
    "DefaultTime2Retain",
)  # fmt: skip
"""What was negotiated, as columns."""


def age_text(seconds: float) -> str:
    """A session's age: ``42s``, ``3m10s``, ``2h05m``, ``5d03h``."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def since_text(age: float, now: float | None, times: Times) -> str:
    """Since when, and how old that is; only the latter if that is wanted, or if nobody knows what the time was (None).

    ``age`` is in seconds, ``now`` in seconds since the epoch.
    """
    if now is None or times is Times.RELATIVE:
        return age_text(age)
    return f"{age_text(age)}, since {day_text(now - age, times)}"


def sessions_report(
    sessions: Sequence[Mapping[str, Any]], now: float | None = None, times: Times = Times.RELATIVE
) -> Report:
    """A paragraph per session: what it is, then what was negotiated; each of these keys is a column of the rows.

    ``now``: when they were so old as they say, in seconds since the epoch.
    """
    lines: list[str] = []
    for session in sessions:
        lines += [*_paragraph(session, now, times), ""]
    names = [name for name in FIELDS if name != "keys"]
    rows = [[s[name] for name in names] + [s["keys"].get(key, "") for key in KEYS] for s in sessions]
    return Report((*names, *KEYS), rows, lines or ["No sessions."])


def _paragraph(session: Mapping[str, Any], now: float | None, times: Times) -> list[str]:
    read, written = session["read_bytes"], session["written_bytes"]
    texts = [
        f"from {', '.join(session['addresses'])} to {session['target'] or 'discovery'}",
        f"ISID {session['isid']}, TSIH {session['tsih']}, CHAP name {session['chap'] or '-'}",
        f"age {since_text(session['age'], now, times)}",
        f"digests: header {session['header_digest']}, data {session['data_digest']}",
        f"{session['commands']} commands, {read // 1024} Kbytes read, {written // 1024} Kbytes written, "
        f"LUNs {ranges_text(session['luns']) or '-'}",
        " ".join(f"{key}={value}" for key, value in session["keys"].items()),
        *(f"TROUBLE: {text}" for text in session["trouble"]),
    ]
    lines = sentence(printable(f"{session['id']}  {session['initiator']}"), "", INDENT)
    for text in texts:
        lines += sentence(printable(text), INDENT, INDENT)
    return lines


def ranges_text(numbers: Sequence[int]) -> str:
    """Rising numbers as ``0-3 7``."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return " ".join(f"{first}-{last}" if last > first else str(first) for first, last in ranges)
