"""What a configuration says to plugins: ``[plugin.NAME]``, or ``--plugin NAME,key=value``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from iscsitools.backstores.base import BackstoreError
from iscsitools.backstores.registry import suggestion
from iscsitools.backstores.spec import Value, parse_named, parse_options
from iscsitools.config.model import PluginConfig
from iscsitools.config.positions import Path
from iscsitools.config.reading import Reading
from iscsitools.config.scalars import type_name
from iscsitools.errors import UsageError


def read_plugins(reading: Reading, value: object, path: Path) -> tuple[PluginConfig, ...] | None:
    """Read the tables of the plugins, each by the options that its plugin has; problems go to ``reading``."""
    if not isinstance(value, dict):
        reading.problem(path, f"a table was expected, not {type_name(value)}")
        return None
    known = reading.registry.plugin_options
    found = []
    for name, table in value.items():
        place = (*path, name)
        if name not in known:
            reading.problem(place, f"there is no plugin {name!r} that has options{suggestion(name, known)}")
        elif not isinstance(table, dict):
            reading.problem(place, f"a table was expected, not {type_name(table)}")
        else:
            _check(reading, name, table, place)
            found.append(PluginConfig(name, table))
    return tuple(found)


def _check(reading: Reading, name: str, table: Mapping[str, Value], path: Path) -> None:
    for key, value in table.items():
        if not isinstance(value, (str, bool, int, float)):
            reading.problem((*path, key), f"an option's value cannot be {type_name(value)}")
            continue
        try:
            parse_options(name, reading.registry.plugin_options[name], {key: value}, others=())
        except BackstoreError as error:
            reading.problem((*path, key), str(error))


def plugin_tables(texts: Iterable[str]) -> dict[str, dict[str, str]]:
    """Make the same tables of ``--plugin NAME[,key=value]...``, each of a plugin of its own. Raises UsageError."""
    tables: dict[str, dict[str, str]] = {}
    for text in texts:
        try:
            name, options = parse_named(text)
        except BackstoreError as error:
            raise UsageError(f"--plugin: {error}") from None
        if name in tables:
            raise UsageError(f"--plugin: {name} is given twice")
        tables[name] = options
    return tables


def merged(file: Mapping[str, Any], options: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The tables of a file with those of the command line over them, option by option."""
    tables = dict(file)
    for name, table in options.items():
        under = tables.get(name)
        tables[name] = {**under, **table} if isinstance(under, dict) else table
    return tables
