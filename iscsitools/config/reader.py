"""Reads TOML data by the tables of the schema."""

from __future__ import annotations

from typing import Any

from iscsitools.backstores.registry import suggestion
from iscsitools.config.key_tables import Key, ListOf, PluginTables, StoreValue, Table, Tables
from iscsitools.config.plugins import read_plugins
from iscsitools.config.positions import Path
from iscsitools.config.reading import Reading
from iscsitools.config.scalars import Scalar, type_name
from iscsitools.config.store import read_store


class Reader(Reading):
    """Walks through a document by the tables of the schema."""

    __slots__ = ()

    def table(self, table: Table, data: object, path: Path = ()) -> Any:
        """Read a table; returns what its ``finish`` made of it, or None."""
        if not isinstance(data, dict):
            self.problem(path, f"a table was expected, not {type_name(data)}")
            return None
        known = {key.name: key for key in table.keys}
        read: dict[str, Any] = {}
        for name, value in data.items():
            key = known.get(name)
            if key is None:
                self.problem((*path, name), f"unknown key{suggestion(name, known)}")
                continue
            result = self.value(key, value, (*path, name))
            if result is not None:
                read[key.field or key.name] = result
        missing = [key.name for key in table.keys if key.required and key.name not in data]
        for name in missing:
            self.problem(path, f"the key {name!r} is missing")
        # What is missing or wrong is None from here on: the checks of the whole table are made all the same.
        for key in table.keys:
            if key.required:
                read.setdefault(key.field or key.name, None)
        return table.finish(self, read, path)

    def value(self, key: Key, value: object, path: Path) -> Any:
        """Read the value of one key; None and a problem when it is none."""
        kind = key.type
        if isinstance(kind, Scalar):
            return self.scalar(kind, value, path)
        if isinstance(kind, Table):
            return self.table(kind, value, path)
        if isinstance(kind, StoreValue):
            return read_store(self, value, path)
        if isinstance(kind, PluginTables):
            return read_plugins(self, value, path)
        return self._array(kind, value, path)

    def _array(self, kind: ListOf | Tables, value: object, path: Path) -> tuple[Any, ...] | None:
        if not isinstance(value, list):
            self.problem(path, f"an array was expected, not {type_name(value)}")
            return None
        if isinstance(kind, Tables):
            items = [self.table(kind.table, item, (*path, n)) for n, item in enumerate(value)]
        else:
            items = [self.scalar(kind.item, item, (*path, n)) for n, item in enumerate(value)]
        if len(value) < kind.least:
            self.problem(path, f"at least {kind.least} is needed")
        return tuple(item for item in items if item is not None)
