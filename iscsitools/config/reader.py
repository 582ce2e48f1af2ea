"""Reads TOML data by the schema and collects everything that is wrong with it, each by file, line and key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from iscsitools.backstores.registry import Registry, suggestion
from iscsitools.config.key_tables import Key, ListOf, PluginTables, StoreValue, Table, Tables, type_name
from iscsitools.config.plugins import read_plugins
from iscsitools.config.positions import Path, dotted, line_of
from iscsitools.config.scalars import Scalar
from iscsitools.config.store import read_store
from iscsitools.errors import UsageError


class ConfigError(UsageError):
    """A configuration cannot be used; ``lines`` names every problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(problems[0], problems[1:])


@dataclass(slots=True)
class Reader:
    """One reading of one document: where it came from, and what was found.

    What a command line said has no ``lines``, but ``names``: which option stands at a path.
    """

    registry: Registry
    authenticators: frozenset[str] = frozenset()
    file: str = ""
    lines: Mapping[Path, int] = field(default_factory=dict)
    names: Mapping[Path, str] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)
    warnings: list[tuple[int, str]] = field(default_factory=list)

    def problem(self, path: Path, text: str) -> None:
        """Note that the value at ``path`` cannot be used."""
        self.problems.append(self._place(path, text))

    def warn(self, path: Path, text: str) -> None:
        """Note that the value at ``path`` is unwise."""
        self.warnings.append(self._place(path, text))

    def _place(self, path: Path, text: str) -> tuple[int, str]:
        option = next((self.names[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.names), "")
        if option or not self.file:
            place = option or dotted(path)
            return 0, f"{place}: {text}" if place else text
        line = line_of(self.lines, path)
        key = f"{dotted(path)}: " if path else ""
        return line, f"{self.file}:{line}: {key}{text}"

    def raise_problems(self) -> None:
        """Raise ConfigError if there were problems, in the order of their lines."""
        if self.problems:
            raise ConfigError([text for _, text in sorted(self.problems, key=lambda p: p[0])])

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

    def scalar(self, kind: Scalar, value: object, path: Path) -> Any:
        """Read a single value; None and a problem when it is none of its kind."""
        if isinstance(value, bool) and bool in kind.natives:
            text = "yes" if value else "no"
        elif isinstance(value, str) or type(value) in kind.natives:
            text = str(value)
        else:
            self.problem(path, f"{kind.expects} was expected, not {type_name(value)}")
            return None
        try:
            return kind.parse(text)
        except ValueError as error:
            self.problem(path, str(error))
            return None
