"""What is served, changed piece by piece while it is served. All of it belongs to the loop's thread.

None of these can fail for what was prepared: stores are open, sockets are bound, policies are made.
"""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING

from iscsitools.config import Config, LunConfig, PortalConfig, TargetConfig
from iscsitools.iscsi.login.policy import AuthPolicy, TargetNode
from iscsitools.scsi.commands import DISK
from iscsitools.scsi.core.device import ScsiDevice
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.server.access_states import change_states
from iscsitools.server.assemble import place, realm, set_access
from iscsitools.server.ending import OpenStore
from iscsitools.server.sizes import take_size

if TYPE_CHECKING:
    from iscsitools.server.server import Server


class Arrangement:
    """Takes out and puts in units, targets and portals, and tells the log, the plugins and the initiators."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def target(self, iqn: str) -> TargetNode:
        """The target of that name; raises StopIteration when there is none."""
        return next(target for target in self._server.assembly.targets if target.name == iqn)

    def store(self, iqn: str, number: int) -> OpenStore:
        """What keeps a unit's bytes."""
        where = place(iqn, number)
        return next(store for store in self._server.assembly.stores if store[0] == where)

    # -- units

    def put_unit(self, iqn: str, lun: LunConfig, unit: LogicalUnit, store: OpenStore) -> None:
        """Serve a unit; attached initiators get REPORTED LUNS DATA HAS CHANGED."""
        assembly, node = self._server.assembly, self.target(iqn)
        node.device.add_unit(unit)
        assembly.units.append((place(iqn, lun.number), unit))
        assembly.stores.append((place(iqn, lun.number), *store[1:]))
        self._server.notices.lun_added(node, lun)

    def take_unit(self, iqn: str, number: int) -> OpenStore:
        """Serve a unit no more: its tasks end without status. Its store is the caller's now, calls may still run."""
        assembly, where = self._server.assembly, place(iqn, number)
        store = self.store(iqn, number)
        self.target(iqn).device.remove_unit(number)
        self._server.notices.lun_removed(iqn, number)
        assembly.units[:] = [entry for entry in assembly.units if entry[0] != where]
        assembly.stores.remove(store)
        for session in self._server.table:
            if session.nexus is not None and session.target is not None and session.target.name == iqn:
                session.nexus.used.discard(number)
        return store

    def resizing(self, iqn: str, number: int, size: int) -> None:
        """A store is about to get another size, in another thread."""
        self.target(iqn).device.units[number].resizing(size)

    def not_resized(self, iqn: str, number: int) -> None:
        """It could not."""
        self.target(iqn).device.units[number].end_of_resize = None

    def resized(self, iqn: str, number: int) -> None:
        """A store has another size, which it has told and tells without hanging; initiators hear of it by now."""
        take_size(place(iqn, number), self.target(iqn).device.units[number])

    # -- targets

    def put_target(self, config: TargetConfig, policy: AuthPolicy) -> None:
        """Accept logins to a new target, which has no unit yet."""
        server = self._server
        device = ScsiDevice(config.iqn, DISK, server.assembly.domain, realm(config.auth))
        node = TargetNode(config.iqn, device, config.alias, auth=policy)
        set_access(node, config)
        server.assembly.targets.append(node)
        server.login.directory.add(node)
        server.notices.target_started(node, TargetConfig(config.iqn), server.addresses)

    def take_target(self, iqn: str) -> list[OpenStore]:
        """Accept no logins any more, and take all units; sessions have been ended before."""
        server, node = self._server, self.target(iqn)
        server.login.directory.remove(iqn)
        stores = [self.take_unit(iqn, number) for number in list(node.device.units)]
        server.assembly.targets.remove(node)
        server.assembly.domain.devices.remove(node.device)
        server.notices.target_stopped(iqn)
        return stores

    def change_target(self, config: TargetConfig, policy: AuthPolicy) -> None:
        """Take another alias, access list, authentication and other maps; sessions go on.

        One that sees other units now, or the same by other LUNs, gets REPORTED LUNS DATA HAS CHANGED.
        """
        node = self.target(config.iqn)
        before = next(target for target in self._server.config.targets if target.iqn == config.iqn)
        change_states(node.device, before, config)
        node.alias, node.auth = config.alias, policy
        set_access(node, config)
        node.device.realm = realm(config.auth)
        self._server.login.directory.add(node)
        for session in self._server.table:
            if session.target is node and session.nexus is not None:
                seen = node.map_for(session.initiator, session.address)
                luns = {} if seen is None else seen.luns
                if luns != session.nexus.luns:
                    node.device.show(session.nexus, luns)

    # -- portals, limits

    def put_portal(self, portal: PortalConfig, sockets: list[socket.socket]) -> None:
        """Accept connections at a portal."""
        self._server.listeners.add(portal, sockets)
        self._server.listeners.start(portal)

    def take_portal(self, portal: PortalConfig) -> None:
        """Accept no connections there any more."""
        self._server.listeners.remove(portal)

    def settle(self, config: Config, discovery: AuthPolicy) -> None:
        """Bring everything else in line with a configuration: what discovery says, the limits, the log."""
        server = self._server
        server.addresses[:] = server.listeners.addresses
        server.login.directory.change(server.listeners.portals, discovery)
        if config.limits != server.config.limits:
            server.take_limits(config.limits)
        if config.log_level != server.config.log_level:
            logging.getLogger().setLevel(config.log_level.upper())
        server.config = config
