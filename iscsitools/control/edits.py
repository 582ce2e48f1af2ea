"""Edits of a document in place: what the commands for one thing at a time do to the whole.

Each raises ControlError (``not-found``, ``request``) when the document has not what it should change.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any

from iscsitools.control.protocol import Code, ControlError
from iscsitools.wire.names import fold_name

Document = dict[str, Any]


def target_of(document: Document, iqn: str) -> Document:
    """The table of a target."""
    name = fold_name(iqn)
    for target in _list(document, "target"):
        if target["iqn"] == name:
            return target
    known = ", ".join(target["iqn"] for target in _list(document, "target"))
    raise ControlError(Code.NOT_FOUND, f"there is no target {iqn} (there are: {known or 'none'})")


def lun_of(document: Document, iqn: str, number: int) -> Document:
    """The table of a LUN."""
    target = target_of(document, iqn)
    for lun in _list(target, "lun"):
        if lun["number"] == number:
            return lun
    known = ", ".join(str(lun["number"]) for lun in _list(target, "lun"))
    raise ControlError(Code.NOT_FOUND, f"there is no LUN {number} of {iqn} (there are: {known or 'none'})")


def _list(table: Document, key: str) -> list[Document]:
    found: list[Document] = table.setdefault(key, [])
    return found


def add_target(document: Document, iqn: str, stores: Iterable[str], alias: str = "") -> None:
    """Add a target with disks of these specs, LUN 0 and on."""
    if any(target["iqn"] == fold_name(iqn) for target in _list(document, "target")):
        raise ControlError(Code.REQUEST, f"there is a target {iqn} already")
    target: Document = {"iqn": iqn, "lun": [{"store": store} for store in stores]}
    _list(document, "target").append(target | ({"alias": alias} if alias else {}))


def remove_target(document: Document, iqn: str) -> None:
    """Remove a target with its LUNs."""
    _list(document, "target").remove(target_of(document, iqn))


def add_lun(document: Document, iqn: str, store: str, number: int | None = None) -> None:
    """Add a disk by its spec; without a number it gets the lowest that is free."""
    luns = _list(target_of(document, iqn), "lun")
    if number is not None and any(lun["number"] == number for lun in luns):
        raise ControlError(Code.REQUEST, f"there is a LUN {number} of {iqn} already")
    luns.append({"store": store} | ({} if number is None else {"number": number}))


def remove_lun(document: Document, iqn: str, number: int) -> None:
    """Remove a LUN, from the maps too; what it is made of stays where it is."""
    lun = lun_of(document, iqn, number)
    target = target_of(document, iqn)
    _list(target, "lun").remove(lun)
    _remap(target, number, None)


def resize_lun(document: Document, iqn: str, number: int, size: str | int, size_keys: dict[str, str]) -> None:
    """Give a LUN another size. ``size_keys``: see :class:`iscsitools.control.Running`."""
    store = lun_of(document, iqn, number)["store"]
    key = size_keys.get(store["kind"], "")
    if not key:
        raise ControlError(Code.REQUEST, f"LUN {number} of {iqn}: a {store['kind']} disk has no size to be given")
    store[key] = str(size)


def move_lun(document: Document, iqn: str, number: int, to: int) -> None:
    """Give a LUN another number; who knows it by a map goes on knowing it by the same LUN."""
    lun = lun_of(document, iqn, number)
    if any(other["number"] == to and other is not lun for other in _list(target_of(document, iqn), "lun")):
        raise ControlError(Code.REQUEST, f"there is a LUN {to} of {iqn} already")
    lun["number"] = to
    _remap(target_of(document, iqn), number, to)


def _remap(target: Document, number: int, to: int | None) -> None:
    """Have the maps of a target name another unit in the place of one, or none."""
    for each in target.get("map", []):
        if "luns" in each:
            pairs = [(int(lun), int(unit or lun)) for lun, _, unit in (str(e).partition("=") for e in each["luns"])]
            kept = [(lun, to if unit == number else unit) for lun, unit in pairs]
            each["luns"] = [f"{lun}={unit}" for lun, unit in kept if unit is not None]


def set_map(
    document: Document, iqn: str, name: str, luns: Sequence[str] | None, initiators: Sequence[str] = (),
    networks: Sequence[str] = (),
) -> None:  # fmt: skip
    """Add a map behind those that are there, or put it in the place of the one of its name. ``luns`` None: all."""
    maps = _list(target_of(document, iqn), "map")
    found: Document = {"name": name, "initiators": list(initiators), "networks": list(networks)}
    if luns is not None:
        found["luns"] = list(luns)
    place = next((n for n, other in enumerate(maps) if other["name"] == name), len(maps))
    maps[place : place + 1] = [found]


def remove_map(document: Document, iqn: str, name: str) -> None:
    """Remove a map; without any, everybody sees everything."""
    maps = _list(target_of(document, iqn), "map")
    kept = [other for other in maps if other["name"] != name]
    if len(kept) == len(maps):
        known = ", ".join(other["name"] for other in maps)
        raise ControlError(Code.NOT_FOUND, f"there is no map {name} of {iqn} (there are: {known or 'none'})")
    target_of(document, iqn)["map"] = kept


def set_user(document: Document, iqn: str, user: Document) -> None:
    """Add a CHAP user, or put it in the place of the one of its name; from then on CHAP is required."""
    auth = target_of(document, iqn).setdefault("auth", {})
    auth["method"] = "chap"
    users = _list(auth, "users")
    auth["users"] = [other for other in users if other["name"] != user["name"]] + [user]


def remove_user(document: Document, iqn: str, name: str) -> None:
    """Remove a CHAP user."""
    auth = target_of(document, iqn).get("auth", {})
    kept = [user for user in auth.get("users", []) if user["name"] != name]
    if len(kept) == len(auth.get("users", [])):
        raise ControlError(Code.NOT_FOUND, f"there is no user {name} of {iqn}")
    auth["users"] = kept


def let_in(document: Document, iqn: str, whom: Iterable[str]) -> None:
    """Add patterns of initiator names, and networks, to a target's access lists."""
    target = target_of(document, iqn)
    for key, given in _by_list(whom):
        names = target.setdefault(key, [])
        names += [name for name in given if name not in names]


def keep_out(document: Document, iqn: str, whom: Sequence[str]) -> None:
    """Take patterns and networks from a target's access lists; not all of one, for an empty one lets everybody in."""
    target = target_of(document, iqn)
    for key, given in _by_list(whom):
        names = target.get(key, [])
        for name in given:
            if name not in names:
                raise ControlError(Code.NOT_FOUND, f"{name} is not in the access list of {iqn}")
        kept = [name for name in names if name not in given]
        if given and not kept:
            raise ControlError(Code.REQUEST, f"that is the whole access list of {iqn}: an empty one lets everybody in")
        target[key] = kept


def _by_list(whom: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Patterns and networks apart, each by the key that it stands in. An iSCSI name has no slash (RFC 7143 4.2.7.2)."""
    patterns: list[str] = []
    networks: list[str] = []
    for text in whom:
        try:
            networks.append(str(ipaddress.ip_network(text)))
        except ValueError:
            (networks if "/" in text else patterns).append(text.lower())
    return [("initiators", patterns), ("networks", networks)]


def let_all_in(document: Document, iqn: str) -> None:
    """Empty a target's access lists: every initiator may log in, from every network."""
    for key in ("initiators", "networks"):
        target_of(document, iqn).pop(key, None)


def set_access(document: Document, iqn: str, states: Iterable[str], transition: float | None = None) -> None:
    """Bring portal groups into access states, each as ``GROUP=STATE``; the others stay as they are.

    ``transition``: seconds that a change takes from now on; None: as before.
    """
    target = target_of(document, iqn)
    wanted: dict[str, str] = {}
    for each in states:
        group, equals, state = each.partition("=")
        if not equals:
            raise ControlError(Code.REQUEST, f"{each!r} is not GROUP=STATE, as 2=standby")
        if group in wanted:
            raise ControlError(Code.REQUEST, f"portal group {group} is given twice")
        wanted[group] = state
    kept = [each for each in target.get("access", []) if each.partition("=")[0] not in wanted]
    target["access"] = kept + [f"{group}={state}" for group, state in wanted.items()]
    if transition is not None:
        target["access_transition"] = transition


def add_portal(document: Document, portal: str) -> None:
    """Listen at one more address. A second portal with port 0 at one address would be a change that nobody sees."""
    portals = document.setdefault("portals", ["127.0.0.1:3260"])
    if portal in portals:
        raise ControlError(Code.REQUEST, f"there is a portal {portal} already")
    portals.append(portal)


def remove_portal(document: Document, portal: str) -> None:
    """Listen at an address no more."""
    portals = document.get("portals", ["127.0.0.1:3260"])
    if portal not in portals:
        raise ControlError(Code.NOT_FOUND, f"there is no portal {portal} (there are: {', '.join(portals)})")
    portals.remove(portal)
    document["portals"] = portals


def set_limits(document: Document, limits: dict[str, Any]) -> None:
    """Set limits by their names."""
    document.setdefault("limits", {}).update(limits)
