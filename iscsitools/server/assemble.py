"""From a configuration to what serves it: backstores opened, logical units, targets."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from iscsitools.backstores.base import Backstore, BackstoreError
from iscsitools.backstores.registry import Registry
from iscsitools.backstores.spec import build, without_password
from iscsitools.backstores.values import MAX_SIZE
from iscsitools.config import AuthConfig, AuthMethod, LunConfig, TargetConfig
from iscsitools.config import Limits as LimitsConfig
from iscsitools.errors import RunError, UsageError, UserError
from iscsitools.iscsi.login.access import AccessList, LunMap
from iscsitools.iscsi.login.parameters import NegotiationLimits
from iscsitools.iscsi.login.policy import AuthPolicy, TargetNode
from iscsitools.scsi.commands import DISK
from iscsitools.scsi.core.access import take_access
from iscsitools.scsi.core.device import ScsiDevice
from iscsitools.scsi.core.domain import Domain
from iscsitools.scsi.core.options import BLOCK_SIZES, UnitOptions
from iscsitools.scsi.core.port_groups import AccessState, PortGroup, PortGroups
from iscsitools.scsi.core.succession import take_unit_state
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.server.ending import OpenStore
from iscsitools.server.filter_settings import put_into_force
from iscsitools.server.heritage import Heritage, UnitHeritage
from iscsitools.server.kept_state import take_kept
from iscsitools.server.loop import Loop
from iscsitools.server.store_host import STATES, StoreHost
from iscsitools.server.workers import Workers

if TYPE_CHECKING:
    from iscsitools.authenticators import Authenticator

log = logging.getLogger(__name__)

_BLOCK_SIZES = f"{', '.join(map(str, BLOCK_SIZES[:-1]))} or {BLOCK_SIZES[-1]}"


@dataclass(slots=True)
class Assembly:
    """The targets of a server and what has to be closed at its end."""

    targets: list[TargetNode] = field(default_factory=list)
    stores: list[OpenStore] = field(default_factory=list)
    keeper: Workers | None = None
    """Keeps reservations: a thread of its own, so that no call of a backstore is in its way."""
    domain: Domain = field(default_factory=lambda: Domain(lambda: time.monotonic_ns() // 1_000_000))
    """Joins the targets for copies between them."""
    units: list[tuple[str, LogicalUnit]] = field(default_factory=list)
    """Every logical unit, with where it is served, for messages."""


def assemble(
    assembly: Assembly, targets: tuple[TargetConfig, ...], registry: Registry,
    authenticators: Mapping[str, Authenticator], loop: Loop, state: Path | None = None, groups: Iterable[int] = (1,),
    heritage: Heritage | None = None,
) -> None:  # fmt: skip
    """Open every backstore and make the targets. Raises UserError naming the LUN; what is open then stands in it.

    ``heritage``: of the server that this one takes over from.
    """
    assembly.keeper = Workers(loop, 1, "reservations")
    for config in targets:
        device = ScsiDevice(config.iqn, DISK, assembly.domain, realm(config.auth))
        for lun in config.luns:
            inherited = heritage.unit(config.iqn, lun) if heritage is not None else None
            if inherited is not None:  # who it is does not change, whatever it was made of
                known = inherited.state
                lun = replace(lun, serial=known["serial"], naa=bytes.fromhex(known["naa"]))
            unit = open_unit(config.iqn, lun, registry, loop, assembly.stores.append)
            refuse_twins(place(config.iqn, lun.number), unit, assembly.units)
            assembly.units.append((place(config.iqn, lun.number), unit))
            fit_unit(unit, config, state, assembly.keeper, groups)
            if inherited is not None:
                _go_on_with(unit, inherited)
            device.add_unit(unit)
        policy = auth_policy(config.auth, authenticators)
        node = TargetNode(config.iqn, device, config.alias, auth=policy)
        set_access(node, config)
        assembly.targets.append(node)


def _go_on_with(unit: LogicalUnit, inherited: UnitHeritage) -> None:
    """Give a unit what it was in the server before. Raises RunError."""
    try:
        if inherited.memory >= 0:
            unit.store.restore(inherited.memory)
            inherited.let_go()
        put_into_force(unit.store, inherited.faults)
        take_unit_state(unit, inherited.state)
    except (OSError, ValueError, KeyError, BackstoreError) as error:
        raise RunError(f"{place(unit.options.target, unit.number)}: it cannot be taken over: {error}") from None


def set_access(node: TargetNode, config: TargetConfig) -> None:
    """Let a target be seen as its configuration says: by whom, from where, at which portals, and what of it."""
    node.access = AccessList(config.initiators, config.networks)
    node.groups = config.groups
    node.maps = tuple(
        LunMap(AccessList(each.initiators, each.networks), None if each.luns is None else dict(each.luns))
        for each in config.maps
    )


def place(iqn: str, number: int) -> str:
    """Where a unit is served, for messages."""
    return f"{iqn} LUN {number}"


def open_unit(
    iqn: str, lun: LunConfig, registry: Registry, loop: Loop, opened: Callable[[OpenStore], None]
) -> LogicalUnit:
    """Open a store and make its unit. ``opened`` gets what has to be closed. Raises UserError naming the LUN.

    It may block, and belongs to no thread: nobody else knows of the unit yet.
    """
    where = place(iqn, lun.number)
    try:
        store = open_store(lun, registry)
        workers = Workers(loop, lun.threads, f"lun{lun.number}")
        opened((where, store, workers))
        return make_unit(iqn, lun, store, workers)
    except BackstoreError as error:
        raise RunError(f"{where}: {error}") from None
    except UserError as error:
        raise type(error)(f"{where}: {error}") from None
    except OSError as error:
        raise RunError(
            f"{where}: {error.filename or without_password(lun.stack.what)}: {error.strerror or error}"
        ) from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        log.debug("opening %s", where, exc_info=True)
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise RunError(f"{where}: backstore {lun.stack.name} failed: {text}") from None


def open_store(lun: LunConfig, registry: Registry) -> Backstore:
    """Make and open the store of a LUN; raises what that raises."""
    store = build(lun.stack, registry)
    store.block_size = lun.block_size
    store.read_only = lun.readonly
    store.open()
    return store


def fit_unit(
    unit: LogicalUnit, config: TargetConfig, state: Path | None, keeper: Workers, groups: Iterable[int]
) -> None:
    """Give a unit what it shares with the others of its target: reservations' place, clock, ports. Raises UserError."""
    where = place(config.iqn, unit.number)
    take_kept(where, unit, state, keeper)
    unit.store.host = StoreHost(keeper.loop, where, unit)
    unit.clock = _milliseconds
    unit.later = keeper.loop.call_later
    unit.port_groups = _port_groups(config, groups)
    access = unit.store.access
    if access is not None:  # what the servers that export it have agreed on
        take_access(unit, {number: STATES[name] for number, name in access.items()})


def _port_groups(config: TargetConfig, groups: Iterable[int]) -> PortGroups:
    """Each portal group that the target is in is a target port, and a target port group of its own."""
    groups = [number for number in groups if not config.groups or number in config.groups]
    check_access(config, groups)
    states = {number: PortGroup((number,), state_of(config, number)) for number in groups}
    return PortGroups(states, config.access_transition)


def check_access(config: TargetConfig, groups: Iterable[int]) -> None:
    """Raise UsageError when the configuration has a state for a portal group that there is not."""
    for number, _ in config.access:
        if number not in groups:
            raise UsageError(f"{config.iqn}: access says something of portal group {number}, which no portal is in")


def state_of(config: TargetConfig, group: int) -> AccessState:
    """The access state that a configuration has for a portal group."""
    return STATES[dict(config.access).get(group, "optimized")]


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000


def refuse_twins(where: str, unit: LogicalUnit, others: Iterable[tuple[str, LogicalUnit]]) -> None:
    """Two units of one identity are two paths to one disk for an initiator, which then mixes what it writes to them.

    Raises UsageError.
    """
    for other_place, other in others:
        if other.identity.naa == unit.identity.naa or other.identity.serial == unit.identity.serial:
            raise UsageError(
                f"{where} has the identity of {other_place} (serial number {unit.identity.serial}, NAA designator "
                f"{unit.identity.naa.hex()}): initiators would take both for one disk; give one of them serial="
            )


def make_unit(iqn: str, lun: LunConfig, store: Backstore, workers: Workers) -> LogicalUnit:
    """The logical unit over an open store. Raises BackstoreError and UsageError."""
    block_size = store.block_size
    size = store.size
    if block_size not in BLOCK_SIZES:
        raise BackstoreError(f"{lun.stack.name} has blocks of {block_size!r} bytes; a disk's have {_BLOCK_SIZES}")
    if not isinstance(size, int) or size > MAX_SIZE:
        raise BackstoreError(f"{lun.stack.name} says that its size is {size!r}, which no disk has")
    if size < block_size or size % block_size:
        raise UsageError(f"its size, {size} bytes, is no multiple of the block size, {block_size}")
    thin = lun.thin if lun.thin is not None else store.capabilities.thin
    options = UnitOptions(
        block_size=block_size,
        physical_block_size=lun.physical_block_size,
        readonly=lun.readonly,
        thin=thin,
        removable=lun.removable,
        write_cache=lun.write_cache,
        serial=lun.serial or "",
        naa=lun.naa or b"",
        target=iqn,
        queue_depth=lun.queue_depth,
        keep_reservations=lun.keep_reservations or store.reservations is not None,
    )
    return LogicalUnit(lun.number, store, workers, options, DISK)


def auth_policy(config: AuthConfig, authenticators: Mapping[str, Authenticator]) -> AuthPolicy:
    """Who may log in, for the login engine. Raises UsageError for an authenticator that no plugin brings."""
    if config.method is AuthMethod.NONE:
        return AuthPolicy()
    mutual = config.mutual
    name, secret = (mutual.name, mutual.secret.value) if mutual is not None else ("", b"")
    if config.authenticator is None:
        users = {user.name: user.secret.value for user in config.users}
        bound = {user.name: user.initiators for user in config.users if user.initiators}
        return AuthPolicy(lambda _initiator, user: users.get(user), False, name, secret, config.algorithms, bound)
    source = authenticators.get(config.authenticator)
    if source is None:
        known = ", ".join(authenticators) or "none is installed"
        raise UsageError(f"there is no authenticator {config.authenticator!r} ({known})")
    return AuthPolicy(source.secret_for, True, name, secret, config.algorithms)


def realm(config: AuthConfig) -> object:
    """What initiators have to prove; two targets of one realm ask for the same."""
    return None if config.method is AuthMethod.NONE else config


def negotiation_limits(config: LimitsConfig) -> NegotiationLimits:
    """What the configuration lets login agree to. No session outlives its connection at ERL 0: Time2Retain is 0."""
    return NegotiationLimits(
        initial_r2t=config.initial_r2t,
        immediate_data=config.immediate_data,
        max_recv_data_segment_length=config.max_recv_data_segment_length,
        max_burst_length=config.max_burst_length,
        first_burst_length=config.first_burst_length,
        default_time2wait=config.default_time2wait,
        default_time2retain=0,
        max_outstanding_r2t=config.max_outstanding_r2t,
    )
