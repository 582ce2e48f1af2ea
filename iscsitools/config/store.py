"""What a LUN is made of: reading a ``store``, and checking it without opening anything."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from iscsitools.backstores.base import Backstore, BackstoreError
from iscsitools.backstores.file_open import obstacle
from iscsitools.backstores.ram import RamBackstore
from iscsitools.backstores.registry import LUN_OPTION_NAMES
from iscsitools.backstores.spec import FilterSpec, StackSpec, Value, build, parse_options, parse_spec
from iscsitools.backstores.values import path as parse_path
from iscsitools.backstores.values import size as parse_size
from iscsitools.config.positions import Path
from iscsitools.config.reading import Reading
from iscsitools.config.scalars import type_name


def read_store(reading: Reading, value: object, path: Path) -> StackSpec | None:
    """Read a ``store``: a text as on the command line, or a table; None and a problem when it is neither."""
    if isinstance(value, str):
        try:
            return parse_spec(value)
        except BackstoreError as error:
            reading.problem(path, str(error))
            return None
    if not isinstance(value, dict):
        reading.problem(path, f"a text or a table was expected, not {type_name(value)}")
        return None
    for name in ("kind", "what"):
        if name in value and not isinstance(value[name], str):
            reading.problem((*path, name), f"a text was expected, not {type_name(value[name])}")
            return None
    if "kind" not in value:
        reading.problem(path, "the key 'kind' is missing")
        return None
    options = {name: v for name, v in value.items() if name not in ("kind", "what", "filters")}
    filters = _filters(reading, value.get("filters", []), (*path, "filters"))
    if filters is None or not _are_values(reading, options, path) or not _are_the_stores(reading, options, path):
        return None
    return StackSpec(value["kind"], value.get("what", ""), options, filters)


def _are_the_stores(reading: Reading, options: Mapping[str, object], path: Path) -> bool:
    of_lun = LUN_OPTION_NAMES.intersection(options)
    for name in sorted(of_lun):
        reading.problem((*path, name), "this is a key of the LUN: it stands beside store, not in it")
    return not of_lun


def _filters(reading: Reading, value: object, path: Path) -> tuple[FilterSpec, ...] | None:
    if not isinstance(value, list):
        reading.problem(path, f"an array was expected, not {type_name(value)}")
        return None
    filters = []
    for n, item in enumerate(value):
        table = {"name": item} if isinstance(item, str) else item
        if not isinstance(table, dict) or not isinstance(table.get("name"), str):
            reading.problem((*path, n), 'a filter is its name, or a table as in { name = "delay", read = "5ms" }')
            return None
        options = {name: v for name, v in table.items() if name != "name"}
        if not _are_values(reading, options, (*path, n)):
            return None
        filters.append(FilterSpec(table["name"], options))
    return tuple(filters)


def _are_values(reading: Reading, options: Mapping[str, object], path: Path) -> bool:
    wrong = [name for name, value in options.items() if not isinstance(value, (str, bool, int, float))]
    for name in wrong:
        reading.problem((*path, name), f"an option's value cannot be {type_name(options[name])}")
    return not wrong


def check_store(reading: Reading, spec: StackSpec, block_size: int, path: Path) -> None:
    """Check that the parts of a stack exist, that their options fit, and that the bytes can be had."""
    try:
        cls = reading.registry.backstore(spec.kind)
    except BackstoreError as error:
        reading.problem(path, str(error))
        return
    before = len(reading.problems)
    given = _check_options(reading, spec.kind, cls, spec.options, path, "")
    for n, part in enumerate(spec.filters):
        place = (*path, "filters", n)
        try:
            filter_cls = reading.registry.filter(part.name)
        except BackstoreError as error:
            reading.problem(place, str(error))
            continue
        _check_options(reading, part.name, filter_cls, part.options, place, f"{part.name}.")
    if len(reading.problems) > before:
        return
    try:
        build(spec, reading.registry)
    except BackstoreError as error:
        reading.problem(path, str(error))
        return
    try:
        _check_size(reading, cls, spec, given, block_size, path)
        _check_path(reading, cls, spec, given, path)
        _warn_of_memory(reading, cls, spec, path)
    except ValueError as error:
        reading.problem((*path, "what"), str(error))


def _check_options(
    reading: Reading, name: str, cls: type[Backstore], options: Mapping[str, Value], path: Path, prefix: str
) -> dict[str, Any]:
    """Check each option by itself, so that every wrong one is told with its place; returns the values of the good."""
    parsed: dict[str, Any] = {}
    for key, value in options.items():
        try:
            parsed[key] = parse_options(name, tuple(cls.options), {key: value}, prefix)[key]
        except BackstoreError as error:
            reading.problem((*path, key), str(error))
    return parsed


def _check_size(
    reading: Reading, cls: type[Backstore], spec: StackSpec, given: Mapping[str, Any], block_size: int, path: Path
) -> None:
    size = parse_size(spec.what) if cls.what == "SIZE" else given.get("size")
    if isinstance(size, int) and size % block_size:
        place = (*path, "what" if cls.what == "SIZE" else "size")
        reading.problem(place, f"the size {size} is no multiple of the block size {block_size}")


def _warn_of_memory(reading: Reading, cls: type[Backstore], spec: StackSpec, path: Path) -> None:
    """A disk in memory takes it when it is written to, and then the system ends the process that has most."""
    if not issubclass(cls, RamBackstore):
        return
    size, memory = parse_size(spec.what), os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > memory:
        text = f"{spec.what} is more than this machine's memory, {memory >> 20} MiB: it cannot be filled"
        reading.warn((*path, "what"), text)


def _check_path(reading: Reading, cls: type[Backstore], spec: StackSpec, given: Mapping[str, Any], path: Path) -> None:
    """A file has to be there, or, when ``size`` allows it to be made, its folder has to be."""
    if cls.what != "PATH":
        return
    file = parse_path(spec.what)
    if os.path.isdir(file):
        reading.problem((*path, "what"), f"{file} is a directory")
    elif why := obstacle(file):
        reading.problem((*path, "what"), why)
    elif not os.path.exists(file):
        folder = os.path.dirname(file) or "."
        if not given.get("size"):
            hint = "; add size=SIZE to make it" if any(o.name == "size" for o in cls.options) else ""
            reading.problem((*path, "what"), f"{file} does not exist{hint}")
        elif not os.path.isdir(folder):
            reading.problem((*path, "what"), f"the directory {folder} does not exist")
