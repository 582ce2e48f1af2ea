"""When a connection has to be looked at though no byte comes, and what is done then (RFC 7143 11.18, 11.19).

Two things are waited for: data that commands need, and a sign of life of the initiator. Which sign that is depends on
what it was last asked for: the rest of a long data segment, the end of its login, an answer to a NOP-In, or nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from iscsitools.iscsi.connection.connection import Connection

SECOND: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Timers:
    """Timers in nanoseconds; 0 switches one off.

    ``login``: from the connection to full feature phase. ``nop_interval``: of silence, after which the initiator is
    asked. ``nop_timeout``: for its answer. ``data_out``: for data that a command waits for.
    """

    login: int = 30 * SECOND
    nop_interval: int = 30 * SECOND
    nop_timeout: int = 30 * SECOND
    data_out: int = 30 * SECOND


def deadline(conn: Connection) -> int:
    """When :func:`on_time` is to be called, in monotonic nanoseconds; 0: never."""
    times = [_data_by(conn), _peer_by(conn)]
    return min((time for time in times if time), default=0)


def _data_by(conn: Connection) -> int:
    """By when the data that a command waits for has to be there; 0: none does."""
    if not conn.timers.data_out:
        return 0
    times = [command.data_by for command in conn.commands.values() if command.sequences]
    if conn.path.transfers:
        times.append(conn.path.waiting_since + conn.timers.data_out)
    return min(times, default=0)


def _peer_by(conn: Connection) -> int:
    """By when the initiator has to do something, or is asked for a sign of life; 0: never."""
    timers = conn.timers
    if conn.segment_by:
        return conn.segment_by
    if conn.session is None or not conn.session.full_feature:
        return conn.opened + timers.login if timers.login else 0
    if not timers.nop_interval:
        return 0
    heard = _heard(conn)
    if conn.pinged > heard:
        return conn.pinged + timers.nop_timeout if timers.nop_timeout else 0
    return heard + timers.nop_interval


def _heard(conn: Connection) -> int:
    """When something last came from it, here or to a data thread."""
    return max(conn.heard, conn.path.heard)


def on_time(conn: Connection, now: int) -> None:
    """End commands whose data does not come; ask a silent initiator (RFC 7143 11.18, 11.19), or give it up."""
    if 0 < _data_by(conn) <= now:
        conn.own()  # only then is known how old those are that a data thread has
        if 0 < _data_by(conn) <= now:
            conn.requests.give_up_waiting(conn, now)
    if not 0 < _peer_by(conn) <= now:
        return
    if conn.segment_by:
        conn.close("a data segment that does not come")
    elif conn.session is None or not conn.session.full_feature:
        conn.close("login took too long")
    elif conn.pinged > _heard(conn):
        conn.close("no answer to NOP-In")
    else:
        conn.pinged = now
        conn.requests.ping(conn)
