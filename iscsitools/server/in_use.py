"""Who uses what a change would take away: sessions, and why each would lose its ground."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iscsitools.config import AuthMethod, PortalConfig, TargetConfig
from iscsitools.control.plan import Change, ChangeKind
from iscsitools.iscsi.login.access import matches
from iscsitools.iscsi.login.policy import Portal, TargetNode
from iscsitools.iscsi.session.session import Session
from iscsitools.scsi.commands import DISK
from iscsitools.scsi.core.device import ScsiDevice
from iscsitools.scsi.core.nexus import Nexus
from iscsitools.server.assemble import set_access
from iscsitools.server.listeners import Listeners

if TYPE_CHECKING:
    from iscsitools.server.server import Server

_UNITS = (ChangeKind.LUN_REMOVED, ChangeKind.LUN_MOVED, ChangeKind.LUN_REPLACED)


@dataclass(frozen=True, slots=True)
class Use:
    """A session that uses what goes away. ``ends``: it cannot go on without it, and is cut where that is forced."""

    session: Session
    text: str
    ends: bool


def uses(server: Server, targets: Iterable[TargetConfig], changes: Iterable[Change]) -> list[Use]:
    """What sessions lose by these changes; ``targets``: as they are afterwards. On the loop's thread."""
    by_name = {target.iqn: target for target in targets}
    found = []
    for session in server.table:
        said = set()
        for what, ends in _losses(server.listeners, session, by_name, changes):
            if what not in said:
                said.add(what)
                found.append(Use(session, f"{what} is used by {_shown(session)}", ends))
    return found


def _shown(session: Session) -> str:
    remotes = ", ".join(conn.info.remote for conn in session.connections.values())
    return f"{session.initiator} from {remotes or 'nowhere'} (session {session.ident})"


def _losses(
    listeners: Listeners, session: Session, targets: dict[str, TargetConfig], changes: Iterable[Change]
) -> Iterator[tuple[str, bool]]:
    target = session.target.name if session.target is not None else ""
    for change in changes:
        if change.kind is ChangeKind.PORTAL_REMOVED and _came_by(listeners, session, change.portal):
            yield f"portal {change.portal}", True
        elif not target or change.target != target:
            continue
        elif change.kind is ChangeKind.TARGET_REMOVED:
            yield f"target {target}", True
        elif change.kind is ChangeKind.TARGET_CHANGED:
            if not _admits(targets[target], session):
                yield f"the access to {target}", True
            else:
                yield from ((f"LUN {n} of {target}", False) for n in _moved(targets[target], session))
        elif change.kind in _UNITS and session.nexus is not None and change.lun in session.nexus.used:
            yield f"LUN {change.lun} of {target}", False


def _came_by(listeners: Listeners, session: Session, portal: str) -> bool:
    return any(
        each.accepts(_portal(conn.info.local))
        for each in listeners.portals_of(PortalConfig.parse(portal))
        for conn in session.connections.values()
    )


def _portal(address: str) -> Portal:
    host, _, port = address.rpartition(":")
    return Portal(host.strip("[]"), int(port))


def _as_seen(target: TargetConfig) -> TargetNode:
    """A target of that configuration, to be asked who sees what of it."""
    node = TargetNode(target.iqn, ScsiDevice(target.iqn, DISK))
    set_access(node, target)
    return node


def _moved(target: TargetConfig, session: Session) -> list[int]:
    """The units that a session uses and would not see any more, or by other LUNs."""
    nexus = session.nexus
    seen = _as_seen(target).map_for(session.initiator, session.address)
    if nexus is None or seen is None:
        return []
    after = Nexus("", "", luns=seen.luns)
    return [number for number in sorted(nexus.used) if nexus.lun_of(number) != after.lun_of(number)]


def _admits(target: TargetConfig, session: Session) -> bool:
    """Whether the session could be begun anew, as far as can be said without its secret."""
    if not _as_seen(target).admits(session.initiator, session.address):
        return False
    auth = target.auth
    if auth.method is AuthMethod.NONE or auth.authenticator is not None:
        return True
    user = next((user for user in auth.users if user.name == session.chap_user), None)
    return user is not None and matches(session.initiator, user.initiators)
