"""What is served as a tree, and whether all is well with it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from iscsitools.backstores.base import stack_name
from iscsitools.backstores.spec import without_password
from iscsitools.config import MapConfig
from iscsitools.scsi.copy.manager import CopyManager
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.server.assemble import place
from iscsitools.server.ending import OpenStore
from iscsitools.server.faults import faults_of
from iscsitools.server.self_description import ServerState

if TYPE_CHECKING:
    from iscsitools.iscsi.session.session import Session
    from iscsitools.server.server import Server


class LimitWatch:
    """Which limits are reached, and since when. Looked at with every tick."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._since: dict[str, float] = {}

    def look(self) -> None:
        """Note what has been reached since the last time, and forget what is not any more."""
        server, limits = self._server, self._server.config.limits
        reached = {
            "max_connections": server.connections.callers.full,
            "max_connections_per_address": server.connections.callers.one_full,
            "max_sessions": len(server.table) >= limits.max_sessions,
            "max_sessions_per_initiator": server.table.one_full,
            "buffer_memory": server.buffers.reserved > server.buffers.tight_from,
        }
        now = time.time()
        self._since = {name: self._since.get(name, now) for name, bites in reached.items() if bites}

    def reached(self) -> list[dict[str, Any]]:
        """``limit``, ``value`` and ``since`` (seconds since the epoch) of each."""
        limits = self._server.config.limits
        return [{"limit": name, "value": getattr(limits, name), "since": at} for name, at in self._since.items()]


def tree(server: Server) -> dict[str, Any]:
    """Portals, targets with LUNs, users, access and sessions. On the loop's thread."""
    stores = {store[0]: store for store in server.assembly.stores}
    sessions = _sessions(server)
    configs = {config.iqn: config for config in server.config.targets}
    targets = []
    for node in server.assembly.targets:
        config = configs[node.name]
        units = sorted(node.device.units.items())
        targets.append(
            {
                "iqn": node.name,
                "alias": node.alias,
                "users": [user.name for user in config.auth.users],
                "initiators": list(config.initiators),
                "networks": list(config.networks),
                "portal_groups": list(config.groups),
                "maps": [_map(each) for each in config.maps],
                "luns": [_lun(unit, stores[place(node.name, number)]) for number, unit in units],
                "sessions": [session for session in sessions if session["target"] == node.name],
            }
        )
    return {"name": server.name, "portals": list(server.addresses), "targets": targets}


def _map(config: MapConfig) -> dict[str, Any]:
    luns = None if config.luns is None else [{"lun": lun, "number": number} for lun, number in config.luns]
    return {"name": config.name, "initiators": list(config.initiators), "networks": list(config.networks), "luns": luns}


def _lun(unit: LogicalUnit, store: OpenStore) -> dict[str, Any]:
    _, backstore, workers = store
    return {
        "lun": unit.number,
        "store": f"{stack_name(backstore)}:{without_password(backstore.source)}",
        "size": unit.blocks * unit.block_size,
        "allocated": backstore.allocated,
        "block_size": unit.block_size,
        "serial": unit.identity.serial,
        "naa": unit.identity.naa.hex(),
        "write_cache": unit.write_cache,
        "readonly": unit.write_protected,
        "in_flight": unit.in_flight,
        "calls": workers.running,
        "trouble": backstore.trouble,
        "faults": faults_of(backstore),
        "access": [
            {
                "group": number,
                "state": group.state.name.lower().replace("_", "-"),
                "by": group.status.name.lower().replace("_", "-"),
            }
            for number, group in sorted(unit.port_groups.groups.items())
        ],
        "copies": [
            {"initiator": copy.party.nexus.initiator, "copied": copy.copied, "total": copy.total}
            for copy in unit.domain.part(CopyManager).running
            if copy.party.unit is unit
        ],
    }


def _sessions(server: Server) -> list[dict[str, Any]]:
    now = time.monotonic_ns()
    kept = ("id", "initiator", "addresses", "target", "age", "chap", "luns", "commands")
    sessions = {str(session.ident): session for session in server.table}
    return [
        {name: told[name] for name in kept} | _work(sessions[told["id"]], now)
        for told in ServerState(server).sessions()
    ]


def _work(session: Session, now: int) -> dict[str, Any]:
    """What is in flight, what failed, and for how long nothing was heard, in seconds."""
    connections = session.connections.values()
    heard = max((max(conn.heard, conn.path.heard) for conn in connections), default=session.opened)
    return {
        "in_flight": sum(len(conn.commands) + conn.path.transfers + conn.path.flights for conn in connections),
        "errors": session.errors,
        "silent": max(0, now - heard) / 1e9,
    }


def health(server: Server, limits: LimitWatch, unkept: str) -> dict[str, Any]:
    """``state``: ``ok``, ``warning`` or ``critical``; ``problems``: lines; ``limits``; and totals. On the loop.

    ``unkept``: why the next start would not serve what is served now; empty: it would.
    """
    told = tree(server)
    problems = [("warning", unkept)] if unkept else []
    for target in told["targets"]:
        for lun in target["luns"]:
            where = place(target["iqn"], lun["lun"])
            if lun["trouble"]:
                problems.append(("critical", f"{where}: {lun['trouble']}"))
            if lun["faults"]:
                problems.append(
                    ("warning", f"{where}: faults are set: {', '.join(f['option'] for f in lun['faults'])}")
                )
    reached = limits.reached()
    problems += [("warning", f"the limit {each['limit']}={each['value']} is reached") for each in reached]
    levels = {level for level, _ in problems}
    return {
        "name": server.name,
        "state": "critical" if "critical" in levels else "warning" if levels else "ok",
        "problems": [{"level": level, "text": text} for level, text in problems],
        "limits": reached,
        "started": server.started,
        "targets": len(told["targets"]),
        "luns": sum(len(target["luns"]) for target in told["targets"]),
        "sessions": len(server.table),
        "connections": len(server.connections.tcp),
        "refused": server.connections.refused,
    }
