"""``sessions``: who is logged in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from iscsitools.trace.views.report import Report


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
    return [
        f"{session['id']}  {session['initiator']}",
        f"   from {', '.join(session['addresses'])} to {session['target'] or 'discovery'}",
        f"   ISID {session['isid']}, TSIH {session['tsih']}, age {age_text(session['age'])}, "
        f"CHAP name {session['chap'] or '-'}",
        f"   digests: header {session['header_digest']}, data {session['data_digest']}",
        f"   {session['commands']} commands, {read // 1024} Kbytes read, {written // 1024} Kbytes written",
        *wrapped(session["keys"]),
    ]


def wrapped(keys: Mapping[str, Any], width: int = 80) -> list[str]:
    """``key=value`` pairs in lines of at most ``width`` columns."""
    lines: list[str] = []
    for key, value in keys.items():
        pair = f"{key}={value}"
        if lines and len(lines[-1]) + 1 + len(pair) <= width:
            lines[-1] += f" {pair}"
        else:
            lines.append(f"   {pair}")
    return lines
