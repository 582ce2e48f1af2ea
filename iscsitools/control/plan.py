"""What differs between two configurations, as a list of changes that people can read and a server can make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Final

from iscsitools.backstores.registry import Registry
from iscsitools.backstores.spec import without_password
from iscsitools.config.model import AuthConfig, Config, Limits, LunConfig, MapConfig, TargetConfig
from iscsitools.config.scalars import ACCESS_STATES
from iscsitools.control.stacks import Stacks

FIXED: Final = ("name", "log_format", "watch_group", "provider", "data_path", "threads", "plugins", "state")
"""Fields of a Config that only a restart can change."""


class ChangeKind(StrEnum):
    """What a change is."""

    PORTAL_ADDED = "portal-added"
    PORTAL_REMOVED = "portal-removed"
    PORTAL_CHANGED = "portal-changed"
    """Initiators are told of it as another address."""
    TARGET_ADDED = "target-added"
    TARGET_REMOVED = "target-removed"
    TARGET_CHANGED = "target-changed"
    """Its alias, its access lists, its maps or its users."""
    LUN_ADDED = "lun-added"
    LUN_REMOVED = "lun-removed"
    LUN_RESIZED = "lun-resized"
    LUN_MOVED = "lun-moved"
    LUN_REPLACED = "lun-replaced"
    """Other options, or another store: it is taken out and opened anew."""
    DISCOVERY = "discovery-changed"
    LIMIT = "limit-changed"
    LOG_LEVEL = "log-level-changed"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. ``text``: for people. ``lun`` and ``to``: numbers, -1 where there is none.

    ``size``: the new one in bytes. ``shrinks``: what lies beyond it is lost.
    """

    kind: ChangeKind
    text: str
    target: str = ""
    lun: int = -1
    to: int = -1
    portal: str = ""
    size: int = 0
    shrinks: bool = False

    def to_json(self) -> dict[str, Any]:
        """The fields that say something."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in found.items() if value not in ("", -1, 0, False)}


def fixed_differences(before: Config, after: Config) -> list[str]:
    """A line for each difference that only a restart can make."""
    names = [
        name.removesuffix("s") if name == "plugins" else name
        for name in FIXED
        if getattr(before, name) != getattr(after, name)
    ]
    if {portal.group for portal in before.portals} != {portal.group for portal in after.portals}:
        names.append("which portal groups there are")
    groups = {target.iqn: target.groups for target in before.targets}
    names += [f"portal_groups of {t.iqn}" for t in after.targets if t.groups != groups.get(t.iqn, t.groups)]
    return [f"{name} cannot change while the server runs: restart it" for name in names]


Sizes = Mapping[tuple[str, int], int]
"""What LUNs hold that are served, in bytes, by target and number."""


def plan(before: Config, after: Config, registry: Registry, sizes: Sizes | None = None) -> tuple[Change, ...]:
    """The changes that make one configuration of the other, in the order of the file.

    ``sizes``: a configuration need not say how large a disk is, nor does one that was made of that size stay so.
    """
    return tuple(_changes(before, after, Stacks(registry), sizes or {}))


def _changes(before: Config, after: Config, stacks: Stacks, sizes: Sizes) -> Iterator[Change]:
    yield from _portals(before, after)
    if before.log_level != after.log_level:
        yield Change(ChangeKind.LOG_LEVEL, f"log_level goes from {before.log_level} to {after.log_level}")
    for field in fields(Limits):
        old, new = getattr(before.limits, field.name), getattr(after.limits, field.name)
        if old != new:
            yield Change(ChangeKind.LIMIT, f"limit {field.name} goes from {_plain(old)} to {_plain(new)}")
    for text in _auth(before.discovery, after.discovery, "discovery"):
        yield Change(ChangeKind.DISCOVERY, text)
    old_targets = {target.iqn: target for target in before.targets}
    new_targets = {target.iqn: target for target in after.targets}
    for iqn, target in old_targets.items():
        if iqn not in new_targets:
            yield Change(ChangeKind.TARGET_REMOVED, f"target {iqn} is removed, with {_luns(target)}", iqn)
    for iqn, target in new_targets.items():
        if iqn in old_targets:
            yield from _target(old_targets[iqn], target, stacks, sizes)
        else:
            yield Change(ChangeKind.TARGET_ADDED, f"target {iqn} is added, with {_luns(target)}", iqn)


def _portals(before: Config, after: Config) -> Iterator[Change]:
    old = {portal.place: portal for portal in before.portals}
    new = {portal.place: portal for portal in after.portals}
    for place, portal in new.items():
        if place not in old:
            yield Change(ChangeKind.PORTAL_ADDED, f"portal {portal} is added", portal=str(portal))
        elif portal != old[place]:
            told = f"is told as {portal.advertise}" if portal.advertise else "is told as it is"
            yield Change(
                ChangeKind.PORTAL_CHANGED, f"portal {replace(portal, advertise='')} {told}", portal=str(portal)
            )
    for place, portal in old.items():
        if place not in new:
            yield Change(ChangeKind.PORTAL_REMOVED, f"portal {portal} is removed", portal=str(portal))


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _luns(target: TargetConfig) -> str:
    count = len(target.luns)
    return f"{count} LUN{'s' if count != 1 else ''}" if count else "no LUN"


def _target(before: TargetConfig, after: TargetConfig, stacks: Stacks, sizes: Sizes) -> Iterator[Change]:
    iqn = after.iqn
    texts = [f"alias of {iqn} becomes {after.alias!r}"] if before.alias != after.alias else []
    texts += [f"initiator {name} is let in to {iqn}" for name in after.initiators if name not in before.initiators]
    for name in before.initiators:
        if name not in after.initiators:
            texts.append(f"initiator {name} is no longer let in to {iqn}")
    if before.initiators and not after.initiators:
        texts.append(f"every initiator is let in to {iqn}")
    texts += [f"network {net} is let in to {iqn}" for net in after.networks if net not in before.networks]
    texts += [f"network {net} is no longer let in to {iqn}" for net in before.networks if net not in after.networks]
    if before.networks and not after.networks:
        texts.append(f"every network is let in to {iqn}")
    texts += _access(before, after)
    texts += _maps(before, after)
    texts += _auth(before.auth, after.auth, iqn)
    for text in texts:
        yield Change(ChangeKind.TARGET_CHANGED, text, iqn)
    yield from _units(before, after, stacks, sizes)


def _access(before: TargetConfig, after: TargetConfig) -> Iterator[str]:
    old, new = dict(before.access), dict(after.access)
    for group in sorted(old.keys() | new.keys()):
        state = new.get(group, ACCESS_STATES[0])
        if state != old.get(group, ACCESS_STATES[0]):
            yield f"portal group {group} of {after.iqn} goes to {state}"
    if before.access_transition != after.access_transition:
        yield f"a change of access to {after.iqn} takes {after.access_transition:g} s"


def _maps(before: TargetConfig, after: TargetConfig) -> Iterator[str]:
    iqn = after.iqn
    old, new = ({each.name: each for each in target.maps} for target in (before, after))
    for name, each in new.items():
        if each != old.get(name):
            yield f"map {name} of {iqn} is {'changed' if name in old else 'added'}, {map_text(each)}"
    yield from (f"map {name} of {iqn} is removed" for name in old if name not in new)
    if before.maps and not after.maps:
        yield f"everybody sees all of {iqn}"
    if not (old.keys() ^ new.keys()) and list(old) != list(new):
        yield f"the maps of {iqn} are asked in this order: {', '.join(new)}"


def map_text(found: MapConfig) -> str:
    """For whom a map is, and what they see: ``for iqn.a*: LUNs 0=7, 1``."""
    whom = " and ".join(", ".join(each) for each in (found.initiators, found.networks) if each)
    if found.luns is None:
        seen = "all"
    else:
        seen = ", ".join(f"{lun}={number}" if lun != number else str(lun) for lun, number in found.luns)
    return f"for {whom or 'everybody'}: LUNs {seen or 'none'}"


def _auth(before: AuthConfig, after: AuthConfig, where: str) -> Iterator[str]:
    if before.method is not after.method:
        yield f"authentication of {where} goes from {before.method.value} to {after.method.value}"
    old = {user.name: user for user in before.users}
    new = {user.name: user for user in after.users}
    for name, user in new.items():
        if name not in old:
            yield f"user {name} of {where} is added"
        elif user.secret != old[name].secret:
            yield f"user {name} of {where} has another secret"
        elif user != old[name]:
            yield f"user {name} of {where} is for {', '.join(user.initiators) or 'every initiator'}"
    yield from (f"user {name} of {where} is removed" for name in old if name not in new)
    if before.mutual != after.mutual:
        yield f"mutual authentication of {where} {'changes' if after.mutual else 'ends'}"
    if before.algorithms != after.algorithms:
        yield f"algorithms of {where} are {', '.join(a.name.lower().replace('_', '-') for a in after.algorithms)}"
    if before.authenticator != after.authenticator:
        yield f"authenticator of {where} is {after.authenticator or 'none'}"


def _units(before: TargetConfig, after: TargetConfig, stacks: Stacks, sizes: Sizes) -> Iterator[Change]:
    iqn = after.iqn
    old = {lun.number: lun for lun in before.luns}
    new = {lun.number: lun for lun in after.luns}
    gone = {number: lun for number, lun in old.items() if number not in new}
    come = {number: lun for number, lun in new.items() if number not in old}
    for number, lun in list(come.items()):
        was = next((n for n, other in gone.items() if stacks.same(replace(other, number=number), lun)), None)
        if was is not None:
            del gone[was], come[number]
            yield Change(ChangeKind.LUN_MOVED, f"LUN {was} of {iqn} becomes LUN {number}", iqn, was, number)
    for number, lun in gone.items():
        yield Change(ChangeKind.LUN_REMOVED, f"LUN {number} of {iqn} ({_shown(lun)}) is removed", iqn, number)
    for number, lun in come.items():
        yield Change(ChangeKind.LUN_ADDED, f"LUN {number} of {iqn} is added: {_shown(lun)}", iqn, number)
    for number in sorted(old.keys() & new.keys()):
        yield from _unit(iqn, old[number], new[number], stacks, sizes.get((iqn, number), 0))


def _unit(iqn: str, before: LunConfig, after: LunConfig, stacks: Stacks, size: int) -> Iterator[Change]:
    number = after.number
    if stacks.same(before, after):
        return
    old, new = stacks.size(before.stack), stacks.size(after.stack)
    if stacks.same_but_size(before, after):
        if not new or new == old:
            return  # how large to make the file says nothing of one that is there
        old = size or old
        how = f"gets the size {size_word(new)}"
        if old not in (0, new):
            how = f"{'grows' if new > old else 'shrinks'} from {size_word(old)} to {size_word(new)}"
        yield Change(
            ChangeKind.LUN_RESIZED,
            f"LUN {number} of {iqn} {how}",
            iqn,
            number,
            size=new,
            shrinks=bool(old) and new < old,
        )
        return
    what = ", ".join(_differences(before, after, stacks))
    yield Change(ChangeKind.LUN_REPLACED, f"LUN {number} of {iqn} is opened anew: {what}", iqn, number)


def _differences(before: LunConfig, after: LunConfig, stacks: Stacks) -> Iterator[str]:
    if not stacks.same_stack(before.stack, after.stack):
        yield f"{_shown(before)} becomes {_shown(after)}" if _shown(before) != _shown(after) else "options of its store"
    for field in fields(LunConfig):
        old, new = getattr(before, field.name), getattr(after, field.name)
        if field.name != "stack" and old != new:
            yield f"{field.name} is {new.hex() if isinstance(new, bytes) else _plain(new)}"


def _shown(lun: LunConfig) -> str:
    return without_password(f"{lun.stack.name}:{lun.stack.what}")


def size_word(size: int) -> str:
    """Bytes as a configuration writes them: ``1G``, ``1536M``, ``513``."""
    for unit, shift in (("T", 40), ("G", 30), ("M", 20), ("K", 10)):
        if size and not size % (1 << shift):
            return f"{size >> shift}{unit}"
    return str(size)
