"""By what the views group: the client's address without its port, a session, a LUN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from iscsitools.trace.events import ConnectionStrings


def client_of(remote: str) -> str:
    """The address of ``address:port``: cut at the last ":", brackets dropped; without a port it stays as it is.

    ``192.0.2.7:3260`` gives ``192.0.2.7``, ``[2001:db8::7]:3260`` gives ``2001:db8::7``.
    """
    address, colon, _ = remote.rpartition(":")
    if not colon:
        address = remote
    return address.removeprefix("[").removesuffix("]")


def session_of(conn: ConnectionStrings) -> str:
    """Names a session among those of one server: its TSIH, then the initiator."""
    return f"{conn.tsih} {conn.initiator or '-'}"


GroupKey = Callable[[ConnectionStrings, int], str]

BY: Final[dict[str, tuple[str, GroupKey]]] = {
    "client": ("REMOTE IP", lambda conn, lun: client_of(conn.remote)),
    "connection": ("CONNECTION", lambda conn, lun: conn.remote),
    "session": ("SESSION", lambda conn, lun: session_of(conn)),
    "target": ("TARGET", lambda conn, lun: conn.target or "-"),
    "lun": ("LUN", lambda conn, lun: f"{conn.target or '-'} {lun}"),
}
"""``--by``: the column's heading, and what gives a row's key."""
