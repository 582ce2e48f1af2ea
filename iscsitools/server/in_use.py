"""Who uses what a change would take away: sessions, and why each would lose its ground."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iscsitools.config import AuthMethod, TargetConfig
from iscsitools.config import Portal as PortalConfig
from iscsitools.control.plan import Change, Kind
from iscsitools.iscsi.login.policy import Portal, matches
from iscsitools.iscsi.session.session import Session
from iscsitools.server.listeners import Listeners

if TYPE_CHECKING:
    from iscsitools.server.server import Server

_UNITS = (Kind.LUN_REMOVED, Kind.LUN_MOVED, Kind.LUN_REPLACED)


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
        if change.kind is Kind.PORTAL_REMOVED and _came_by(listeners, session, change.portal):
            yield f"portal {change.portal}", True
        elif not target or change.target != target:
            continue
        elif change.kind is Kind.TARGET_REMOVED:
            yield f"target {target}", True
        elif change.kind is Kind.TARGET_CHANGED and not _admits(targets[target], session):
            yield f"the access to {target}", True
        elif change.kind in _UNITS and session.nexus is not None and change.lun in session.nexus.used:
            yield f"LUN {change.lun} of {target}", False


def _came_by(listeners: Listeners, session: Session, portal: str) -> bool:
    addresses = listeners.addresses_of(PortalConfig.parse(portal))
    return any(
        _portal(address).accepts(_portal(conn.info.local))
        for address in addresses
        for conn in session.connections.values()
    )


def _portal(address: str) -> Portal:
    host, _, port = address.rpartition(":")
    return Portal(host.strip("[]"), int(port))


def _admits(target: TargetConfig, session: Session) -> bool:
    """Whether the session could be begun anew, as far as can be said without its secret."""
    if not matches(session.initiator, target.initiators):
        return False
    auth = target.auth
    if auth.method is AuthMethod.NONE or auth.authenticator is not None:
        return True
    user = next((user for user in auth.users if user.name == session.chap_user), None)
    return user is not None and matches(session.initiator, user.initiators)
