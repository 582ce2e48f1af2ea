"""``sessions``: who is logged in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

from iscsitools.trace.views.report import INDENT, Report


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


def sessions_report(sessions: Sequence[Mapping[str, Any]]) -> Report:
    """A paragraph per session: what it is, then what was negotiated."""
    lines: list[str] = []
    for session in sessions:
        lines += [*_paragraph(session), ""]
    return Report([dict(session) for session in sessions], lines or ["No sessions."])


def _paragraph(session: Mapping[str, Any]) -> list[str]:
    read, written = session["read_bytes"], session["written_bytes"]
    texts = [
        f"from {', '.join(session['addresses'])} to {session['target'] or 'discovery'}",
        f"ISID {session['isid']}, TSIH {session['tsih']}, age {age_text(session['age'])}, "
        f"CHAP name {session['chap'] or '-'}",
        f"digests: header {session['header_digest']}, data {session['data_digest']}",
        f"{session['commands']} commands, {read // 1024} Kbytes read, {written // 1024} Kbytes written, "
        f"LUNs {ranges_text(session['luns']) or '-'}",
        " ".join(f"{key}={value}" for key, value in session["keys"].items()),
    ]
    lines = _wrapped(f"{session['id']}  {session['initiator']}", "")
    for text in texts:
        lines += _wrapped(text, INDENT)
    return lines


def _wrapped(text: str, indent: str) -> list[str]:
    """Lines of at most 80 columns; a name that is longer than one goes on in the next."""
    return wrap(text, 80, initial_indent=indent, subsequent_indent=INDENT, break_on_hyphens=False)


def ranges_text(numbers: Sequence[int]) -> str:
    """Rising numbers as ``0-3 7``."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return " ".join(f"{first}-{last}" if last > first else str(first) for first, last in ranges)
