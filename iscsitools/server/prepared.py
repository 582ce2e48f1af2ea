"""What a change of the configuration needs before it touches anything: open stores, bound portals, checked logins."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from iscsitools.config import Config, LunConfig, PortalConfig, TargetConfig
from iscsitools.control.plan import Change, ChangeKind
from iscsitools.iscsi.login.policy import AuthPolicy
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.server.assemble import auth_policy, check_access, fit_unit, open_unit, place, refuse_twins
from iscsitools.server.ending import OpenStore
from iscsitools.server.listeners import listen

if TYPE_CHECKING:
    from iscsitools.server.server import Server


class Prepared:
    """What is ready for ``config``, and not served yet. For the control thread, which may wait."""

    def __init__(self, server: Server, config: Config) -> None:
        self._server = server
        self._config = config
        self.units: dict[tuple[str, int], tuple[LunConfig, LogicalUnit, OpenStore]] = {}
        self.portals: list[tuple[PortalConfig, list[socket.socket]]] = []
        self.policies: dict[str, AuthPolicy] = {}
        self.discovery = AuthPolicy()
        self._opened: list[OpenStore] = []

    def make(self, changes: Sequence[Change]) -> None:
        """Make ready what the changes need. Raises UserError, BackstoreError and OSError; then :meth:`undo` it."""
        config, authenticators = self._config, self._server.plugins.authenticators
        self.discovery = auth_policy(config.discovery, authenticators)
        targets = {target.iqn: target for target in config.targets}
        for change in changes:
            if change.kind is ChangeKind.PORTAL_ADDED:
                portal = PortalConfig.parse(change.portal)
                self.portals.append((portal, listen(portal, config.portals)))
            elif change.kind is ChangeKind.LUN_ADDED:
                self.open(targets[change.target], change.lun)
            elif change.kind in (ChangeKind.TARGET_ADDED, ChangeKind.TARGET_CHANGED):
                check_access(targets[change.target], {portal.group for portal in config.portals})
                self.policies[change.target] = auth_policy(targets[change.target].auth, authenticators)
            if change.kind is ChangeKind.TARGET_ADDED:
                for lun in targets[change.target].luns:
                    self.open(targets[change.target], lun.number)
        self._refuse_twins(changes)

    def _refuse_twins(self, changes: Sequence[Change]) -> None:
        going = {place(c.target, c.lun) for c in changes if c.kind in (ChangeKind.LUN_REMOVED, ChangeKind.LUN_REPLACED)}
        others = [entry for entry in self._server.assembly.units if entry[0] not in going]
        for (iqn, number), (_, unit, _) in self.units.items():
            refuse_twins(place(iqn, number), unit, others)
            others.append((place(iqn, number), unit))

    def open(self, target: TargetConfig, number: int) -> None:
        """Open a store and make its unit; raises as :meth:`make`."""
        registry, loop = self._server.plugins.registry, self._server.loop
        lun = target.lun(number)
        unit = open_unit(target.iqn, lun, registry, loop, self._opened.append)
        self.fit(target, unit)
        self.units[target.iqn, number] = lun, unit, self._opened[-1]

    def fit(self, target: TargetConfig, unit: LogicalUnit) -> None:
        """Give a unit what it has of its target and of the server."""
        groups = sorted({portal.group for portal in self._config.portals})
        keeper = self._server.assembly.keeper
        assert keeper is not None  # made with the first targets
        fit_unit(unit, target, self._server.state, keeper, groups)

    def undo(self) -> None:
        """Close it all."""
        for _, store, workers in self._opened:
            store.close()
            workers.close()
        for _, sockets in self.portals:
            for sock in sockets:
                sock.close()
