"""What the live trace's sockets tell of the server itself: sessions, what is in flight, CPU time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from iscsitools.iscsi.connection.connection import Connection
from iscsitools.iscsi.login.parameters import Parameters
from iscsitools.iscsi.session.session import Session
from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.server.faults import faulty

if TYPE_CHECKING:
    from iscsitools.server.server import Server

_KEYS = {
    "MaxRecvDataSegmentLength": "max_recv_data_segment_length",
    "InitiatorMaxRecvDataSegmentLength": "initiator_max_recv_data_segment_length",
    "MaxBurstLength": "max_burst_length",
    "FirstBurstLength": "first_burst_length",
    "InitialR2T": "initial_r2t",
    "ImmediateData": "immediate_data",
    "MaxOutstandingR2T": "max_outstanding_r2t",
    "MaxConnections": "max_connections",
    "ErrorRecoveryLevel": "error_recovery_level",
    "DefaultTime2Wait": "default_time2wait",
    "DefaultTime2Retain": "default_time2retain",
}


class ServerState:
    """Answers the requests of :class:`iscsitools.trace.feed.questions.SelfDescription`; all on the loop's thread."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def connections(self) -> Iterable[ConnectionInfo]:
        """The open connections."""
        return [conn.info for conn in self._server.connections.tcp]

    def sessions(self) -> Iterator[dict[str, Any]]:
        """Each session with what was negotiated and how much it has done, made as it is asked for."""
        now = time.monotonic_ns()
        return (_session(session, now) for session in self._server.table)

    def status(self) -> dict[str, Any]:
        """Sessions and connections (numbers), CPU time in seconds, commands in flight by connection and LUN.

        ``time``: when, nanoseconds of the monotonic clock. ``loop_cpu``: the CPU time of the event loop's thread, which
        this is. ``limits``: how often a limit was reached, by its name in the configuration.
        ``faulty``: the units that have faults set.
        """
        server = self._server
        trace = server.trace
        return {
            "time": time.monotonic_ns(),
            "sessions": len(server.table),
            "connections": len(server.connections.tcp),
            "started": server.started,
            "cpu": time.process_time(),
            "loop_cpu": time.thread_time(),
            "limits": {"max_connections": server.connections.refused},
            "drops": {"trace": trace.drops if trace is not None else 0, "plugins": server.dropped},
            "faulty": [{"target": target, "lun": lun} for target, lun in faulty(server.assembly)],
            "in_flight": [entry for conn in server.connections.tcp for entry in _in_flight(conn)],
        }

    def drop(self, session: str) -> bool:
        """End a session by its number."""
        found = self._server.table.by_ident(int(session)) if session.isdecimal() else None
        if found is None:
            return False
        self._server.login.drop_session(found, "dropped by the administrator")
        return True

    def shut_down(self) -> None:
        """Begin a clean end."""
        self._server.shut_down()


def _in_flight(conn: Connection) -> list[dict[str, Any]]:
    counts = Counter(command.probe_lun for command in conn.commands.values())
    if conn.call_back is not None and conn.path.waiting:
        conn.own()
    if conn.call_back is None:  # else a data thread has it, and between two batches there is nothing of it under way
        counts.update(lun for _, lun in (*conn.path.pending(), *conn.path.flying()))
    info = conn.info
    return [
        {
            "remote": info.remote,
            "initiator": info.initiator,
            "target": info.target,
            "tsih": info.tsih,
            "lun": lun,
            "commands": count,
        }
        for lun, count in counts.items()
    ]


def _total(session: Session, of: Callable[[Connection], int]) -> int:
    return sum(of(conn) for conn in session.connections.values())


def _session(session: Session, now: int) -> dict[str, Any]:
    parameters = session.parameters
    own = next((conn.parameters for conn in session.connections.values()), parameters)
    return {
        "id": str(session.ident),
        "initiator": session.initiator,
        "alias": session.initiator_alias,
        "addresses": [conn.info.remote for conn in session.connections.values()],
        "target": session.target.name if session.target is not None else "",
        "isid": session.isid.hex(),
        "tsih": f"0x{session.tsih:04x}",
        "age": (now - session.opened) / 1e9,
        "chap": session.chap_user,
        "header_digest": "CRC32C" if own.header_digest else "None",
        "data_digest": "CRC32C" if own.data_digest else "None",
        "luns": sorted(session.nexus.used) if session.nexus is not None else [],
        "commands": session.commands,
        "read_bytes": _total(session, lambda conn: conn.path.read_bytes),
        "written_bytes": _total(session, lambda conn: conn.path.written_bytes),
        "keys": _keys(parameters, own),
        "trouble": list(_trouble(session)),
    }


def _trouble(session: Session) -> Iterator[str]:
    """What is the matter with the units that it uses."""
    if session.target is None or session.nexus is None:
        return
    units = session.target.device.units
    for number in sorted(session.nexus.used & units.keys()):
        if trouble := units[number].store.trouble:
            yield f"LUN {number}: {trouble}"


def _keys(parameters: Parameters, own: Parameters) -> dict[str, Any]:
    """The session's keys, and those of its connection (``own``)."""
    found: dict[str, Any] = {}
    for key, attribute in _KEYS.items():
        value = getattr(own if key.endswith("DataSegmentLength") else parameters, attribute)
        found[key] = ("Yes" if value else "No") if isinstance(value, bool) else value
    return found
