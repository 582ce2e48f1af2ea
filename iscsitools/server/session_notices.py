"""What of targets, units, logins and sessions is told to the log and to the plugins."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Final

from iscsitools.config import LunConfig, TargetConfig
from iscsitools.iscsi.connection.connection import Connection
from iscsitools.iscsi.login.messages import LoginReply
from iscsitools.iscsi.login.policy import TargetNode
from iscsitools.iscsi.session.session import Session
from iscsitools.lifecycle import Lifecycle, LoginNotice, LunNotice, SessionNotice, TargetNotice
from iscsitools.server.log_queue import wanted

log = logging.getLogger(__name__)

_OPENED: Final = "session opened"
_CLOSED: Final = "session closed"


class SessionNotices:
    """Tells of targets and sessions that begin and end, and of logins that fail."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle
        self._opened: dict[int, SessionNotice] = {}
        self._started: dict[str, tuple[TargetNotice, dict[int, LunNotice]]] = {}

    def target_started(self, target: TargetNode, config: TargetConfig, portals: Iterable[str]) -> None:
        """A target accepts logins, and its units can be used."""
        notice = TargetNotice(target.name, tuple(portals))
        self._started[target.name] = notice, {}
        self._lifecycle.target_started(notice)
        for lun in config.luns:
            self.lun_added(target, lun)

    def lun_added(self, target: TargetNode, lun: LunConfig) -> None:
        """A unit of a target that was told of can be used."""
        unit = target.device.units[lun.number]
        notice = LunNotice(target.name, lun.number, lun.stack.name, unit.blocks, unit.block_size)
        self._started[target.name][1][lun.number] = notice
        self._lifecycle.lun_added(notice)

    def lun_removed(self, target: str, number: int) -> None:
        """A unit that was told of cannot be used any more."""
        self._lifecycle.lun_removed(self._started[target][1].pop(number))

    def target_stopped(self, target: str) -> None:
        """A target that was told of accepts no logins any more; its units go with it."""
        notice, luns = self._started.pop(target)
        for lun in luns.values():
            self._lifecycle.lun_removed(lun)
        self._lifecycle.target_stopped(notice)

    def targets_stopped(self) -> None:
        """The targets that were told of accept no logins any more."""
        for target in list(self._started):
            self.target_stopped(target)

    def session_opened(self, session: Session) -> None:
        """A session has reached the full feature phase."""
        notice = self._opened[session.ident] = _notice(session)
        if wanted(log, logging.INFO, _OPENED):
            chap = {"chap": session.chap_user} if session.chap_user else {}
            log.info(_OPENED, extra=_described(notice) | chap)
        self._lifecycle.session_opened(notice)

    def session_closed(self, session: Session) -> None:
        """A session has ended; it is told of as it was opened, since its connections are gone by now."""
        notice = self._opened.pop(session.ident, None)
        if notice is not None:
            if wanted(log, logging.INFO, _CLOSED):
                log.info(_CLOSED, extra=_described(notice))
            self._lifecycle.session_closed(notice)

    @staticmethod
    def taken_over(session: Session, before: str, now: str) -> None:
        """A session, or a connection of it, was reinstated from another address (RFC 7143 6.3.4, 6.3.5)."""
        log.warning(
            "session reinstated from another address",
            extra={
                "initiator": session.initiator, "target": session.target.name if session.target is not None else "",
                "tsih": f"{session.tsih:#06x}", "chap": session.chap_user, "before": before, "remote": now,
            },
        )  # fmt: skip

    def login_failed(self, conn: Connection, reply: LoginReply) -> None:
        """A login was answered with a status that ends it."""
        info = conn.info
        log.warning(
            "login failed",
            extra={
                "remote": info.remote,
                "initiator": info.initiator,
                "target": info.target,
                "chap": reply.user,
                "status": f"{reply.status:04x}",
                "reason": reply.message,
            },
        )
        self._lifecycle.login_failed(
            LoginNotice(info.initiator, info.target, info.remote, int(reply.status), reply.message)
        )


def _described(notice: SessionNotice) -> dict[str, Any]:
    return {
        "initiator": notice.initiator,
        "target": notice.target,
        "tsih": f"{notice.tsih:#06x}",
        "remote": notice.remote,
    }


def _notice(session: Session) -> SessionNotice:
    connections = list(session.connections.values())
    remote = connections[0].info.remote if connections else ""
    target = session.target.name if session.target is not None else ""
    return SessionNotice(target, session.initiator, session.isid.hex(), session.tsih, remote)
