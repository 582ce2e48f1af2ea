"""Makes the model's values of tables that were read, with the checks that concern several keys at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from iscsitools.config.auth import check_mutual_secrets
from iscsitools.config.model import Config, Limits, LunConfig, MapConfig, TargetConfig
from iscsitools.config.positions import Path
from iscsitools.config.reading import Reading
from iscsitools.config.scalars import Scalar
from iscsitools.config.store import check_store

NEXT_NUMBER = -1
"""Stands in ``LunConfig.number`` until the target is complete: the lowest number that no other LUN asked for."""


def finish_lun(
    reading: Reading, values: Mapping[str, Any], path: Path, *, options: Mapping[str, tuple[str, Scalar]]
) -> LunConfig:
    """Make a LunConfig. Options of the LUN that stand in the text of its store count as if they were keys.

    ``options``: the field and the kind of each.
    """
    read = dict(values)
    stack = read["stack"]
    if stack is None:
        return LunConfig(**{"number": NEXT_NUMBER, **read})
    for name, text in stack.lun_options.items():
        field, kind = options[name]
        if field in values:
            reading.problem((*path, name), "given twice: as a key and in the text of store")
        value = reading.scalar(kind, text, (*path, name))
        if value is not None:
            read[field] = value
    read["stack"] = replace(stack, lun_options={})
    lun = LunConfig(**{"number": NEXT_NUMBER, **read})
    if 0 < lun.physical_block_size < lun.block_size:
        reading.problem((*path, "physical_block_size"), f"smaller than the block size {lun.block_size}")
    if lun.removable:
        reading.warn((*path, "removable"), "Linux fails the I/O of a removable disk after each reconnect, instead of "
                     "repeating it")  # fmt: skip
    check_store(reading, lun.stack, lun.block_size, (*path, "store"))
    return lun


def finish_map(reading: Reading, values: Mapping[str, Any], path: Path) -> MapConfig:
    """Make a MapConfig: each LUN, and each unit, once; two LUNs of one unit would be two paths to one disk."""
    found = MapConfig(**values)
    luns = found.luns or ()
    for what, numbers in (("LUN", [lun for lun, _ in luns]), ("unit", [number for _, number in luns])):
        for number, times in Counter(numbers).items():
            if times > 1:
                reading.problem((*path, "luns"), f"{what} {number} is mapped twice")
    return found


def _check_maps(reading: Reading, target: TargetConfig, path: Path) -> None:
    numbers = {lun.number for lun in target.luns}
    for index, each in enumerate(target.maps):
        for _, number in each.luns or ():
            if number not in numbers:
                reading.problem((*path, "map", index, "luns"), f"there is no LUN {number} in this target")
        if each.name and any(each.name == other.name for other in target.maps[:index]):
            reading.problem((*path, "map", index, "name"), f"the map {each.name} is given twice")


def finish_target(reading: Reading, values: Mapping[str, Any], path: Path) -> TargetConfig:
    """Make a TargetConfig: LUNs get the numbers that they did not ask for, and are sorted by number."""
    target = TargetConfig(**values)
    if not values.get("luns"):
        reading.warn(path, f"the target {target.iqn} has no LUN: whoever logs in finds no disk")
    taken: dict[int, LunConfig] = {}
    waiting = []
    for index, lun in enumerate(target.luns):
        if lun.number == NEXT_NUMBER:
            waiting.append(lun)
        elif lun.number in taken:
            reading.problem((*path, "lun", index, "number"), f"LUN {lun.number} is given twice")
        else:
            taken[lun.number] = lun
    number = 0
    for lun in waiting:
        while number in taken:
            number += 1
        taken[number] = replace(lun, number=number)
    target = replace(target, luns=tuple(taken[n] for n in sorted(taken)))
    _check_maps(reading, target, path)
    return target


def finish_limits(reading: Reading, values: Mapping[str, Any], path: Path) -> Limits:
    """Make Limits."""
    limits = Limits(**values)
    if limits.first_burst_length > limits.max_burst_length:
        # RFC 7143 13.14
        reading.problem((*path, "first_burst_length"), f"more than max_burst_length, {limits.max_burst_length}")
    if limits.nop_interval and not limits.nop_timeout:
        reading.problem((*path, "nop_timeout"), "has to be more than 0 unless nop_interval is 0")
    return limits


def finish_config(reading: Reading, values: Mapping[str, Any], path: Path) -> Config:
    """Make a Config."""
    config = Config(**values)
    seen: set[str] = set()
    for index, target in enumerate(config.targets or ()):
        if target.iqn and target.iqn in seen:
            reading.problem((*path, "target", index, "iqn"), f"the target {target.iqn} is given twice")
        seen.add(target.iqn)
    auths = [((*path, "target", index, "auth"), target.auth) for index, target in enumerate(config.targets or ())]
    check_mutual_secrets(reading, [((*path, "discovery"), config.discovery), *auths])
    _refuse_twins(reading, config, path)
    _check_groups(reading, config, path)
    for index, portal in enumerate(config.portals):
        if portal.port and any(portal.place[:2] == other.place[:2] for other in config.portals[:index]):
            reading.problem((*path, "portals", index), f"the portal {portal} is given twice")
    return config


def _check_groups(reading: Reading, config: Config, path: Path) -> None:
    groups = {portal.group for portal in config.portals}
    for index, target in enumerate(config.targets or ()):
        of_target = [number for number, _ in target.access]
        for key, given, there in (
            ("portal_groups", list(target.groups), groups),
            ("access", of_target, groups & set(target.groups) if target.groups else groups),
        ):
            for number in sorted(set(given) - there):
                reading.problem((*path, "target", index, key), f"no portal is in portal group {number}")
            for number in sorted({number for number in given if given.count(number) > 1}):
                reading.problem((*path, "target", index, key), f"portal group {number} is given twice")


def _refuse_twins(reading: Reading, config: Config, path: Path) -> None:
    """One identity makes one disk of two to an initiator, which then reads and writes either of them."""
    seen: set[str | bytes] = set()
    for index, target in enumerate(config.targets or ()):
        for lun in target.luns:
            for noun, own in (("serial number", lun.serial), ("NAA designator", lun.naa)):
                if own and own in seen:
                    shown = own.hex() if isinstance(own, bytes) else repr(own)
                    text = f"LUN {lun.number}: another has the {noun} {shown} too; initiators take both for one"
                    reading.problem((*path, "target", index), text)
                if own:
                    seen.add(own)
