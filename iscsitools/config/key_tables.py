"""What a table of keys is: its keys, their types, and what is made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from iscsitools.config.positions import Path
from iscsitools.config.reading import Reading
from iscsitools.config.scalars import Scalar


@dataclass(frozen=True, slots=True)
class ListOf:
    """An array of single values; becomes a tuple. ``least``: how many there have to be."""

    item: Scalar
    least: int = 0

    @property
    def label(self) -> str:
        """What to write."""
        return f"array of: {self.item.label}"


@dataclass(frozen=True, slots=True)
class StoreValue:
    """What a LUN is made of: a text as on the command line, or a table."""

    label: str = "text or table"


@dataclass(frozen=True, slots=True)
class PluginTables:
    """A table of tables, by plugin; what may stand in each is said by the plugin."""

    label: str = "tables by plugin"


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a table.

    ``field``: its name in the model, if that is another. ``example``: its value as TOML text, for the commented
    example; without one the default is shown.
    """

    name: str
    type: Scalar | ListOf | StoreValue | PluginTables | Table | Tables
    help: str
    field: str = ""
    example: str = ""
    required: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table of keys. ``model`` is the dataclass whose defaults hold.

    ``finish`` makes the value of what was read of it, or None when something that it needs is missing. ``inline``: it
    is written as ``{ ... }``.
    """

    model: type
    keys: tuple[Key, ...]
    finish: Callable[[Reading, Mapping[str, Any], Path], Any]
    inline: bool = False
    label: str = "table"

    def default(self, key: Key) -> Any:
        """The value that holds when ``key`` is not given; None when there is none."""
        for f in fields(self.model):
            if f.name == (key.field or key.name):
                return None if f.default is MISSING else f.default
        return None


@dataclass(frozen=True, slots=True)
class Tables:
    """An array of tables; becomes a tuple. ``least``: how many there have to be."""

    table: Table
    least: int = 0
    label: str = "array of tables"
