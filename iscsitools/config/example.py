"""What people read of the schema: the commented example, and the tables of ``docs/configuration.md``."""

from __future__ import annotations

import json
import textwrap
from enum import Enum
from typing import Any

from iscsitools.config.key_tables import Key, Table, Tables
from iscsitools.config.names import PortalConfig
from iscsitools.config.scalars import BOOLEAN, CACHE, RESERVATIONS, Scalar
from iscsitools.config.schema import CONFIG, THREADS, USER, tables
from iscsitools.iscsi.login.policy import ChapAlgorithm

_HEAD = """\
# A configuration of iscsitools, with every key. What is commented out shows its default, or an example where there is
# none. Sizes are bytes or a text with K, M, G, T or P; times are seconds; paths are relative to the directory in which
# the server starts.
"""

_STORE = """\
# As a table, with the options of the backstore beside kind and what, and filters by name or with their options:
#   store = { kind = "file", what = "disk.img", size = "1G", filters = ["cow", { name = "delay", read = "5ms" }] }
# or under a header of its own, [target.lun.store]. "iscsitools backstores" lists what there is."""


def toml_value(key: Key, value: Any) -> str:
    """A default as TOML text."""
    if isinstance(value, tuple):
        return f"[{', '.join(toml_value(key, item) for item in value)}]"
    if key.type is CACHE:
        return '"writeback"' if value else '"writethrough"'
    if key.type is RESERVATIONS:
        return '"keep"' if value else '"aptpl"'
    if key.type is THREADS and not value:
        return '"auto"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, ChapAlgorithm):
        return json.dumps(value.name.lower().replace("_", "-"))
    if isinstance(value, Enum):
        return json.dumps(value.value)
    if isinstance(value, PortalConfig):
        return json.dumps(str(value))
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


def default_text(table: Table, key: Key) -> str:
    """The default of a key as TOML text; empty when there is none."""
    default = table.default(key)
    return "" if default is None or isinstance(key.type, Table) else toml_value(key, default)


def _is_section(key: Key) -> bool:
    """Whether a key is a table with a header of its own, which follows after its table's other keys."""
    table = key.type.table if isinstance(key.type, Tables) else key.type
    return isinstance(table, Table) and not table.inline


def _sample(table: Table, key: Key) -> str:
    if not key.example and isinstance(key.type, (Table, Tables)):
        inner = key.type.table if isinstance(key.type, Tables) else key.type
        sample = "{ " + ", ".join(f"{k.name} = {k.example}" for k in inner.keys[:2]) + " }"
        return f"[{sample}]" if isinstance(key.type, Tables) else sample
    return key.example or default_text(table, key)


def _comment(key: Key) -> list[str]:
    text = key.help
    if isinstance(key.type, Scalar) and key.type is not BOOLEAN and "," in key.type.label:
        text += f" One of {key.type.label}."
    lines = textwrap.wrap(text, 116)
    inner = key.type.table if isinstance(key.type, Tables) else key.type
    if isinstance(key.type, Tables) and isinstance(inner, Table):
        lines += [f"  {k.name} = {k.example}: {k.help}" for k in inner.keys]
    return [f"# {line}" for line in lines]


def example() -> str:
    """A configuration file that is right, and shows every key of every table with its help and default."""
    parts = [_HEAD]
    for header, table in tables():
        block = [header] if header else []
        for key in table.keys:
            if _is_section(key):
                continue
            block += _comment(key)
            if key.field == "stack":
                block.append(_STORE)
            shown = f"{key.name} = {_sample(table, key)}"
            block.append(shown if key.required else f"#{shown}")
        parts.append("\n".join(block) + "\n")
    return "\n".join(parts)


def key_tables() -> str:
    """The tables of keys in Markdown, one for each table of a document."""
    parts = []
    seen: list[Table] = []
    for header, table in [*tables(), *_inline_tables()]:
        title = f"### `{header}`" if header else "### Top of the file"
        if table in seen:
            parts.append(f"{title}\n\nThe same keys as `{_header_of(table)}`.\n")
            continue
        seen.append(table)
        rows = ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
        for key in table.keys:
            default = f"`{default_text(table, key)}`" if default_text(table, key) else ""
            default = "(required)" if key.required else default
            rows.append(f"| `{key.name}` | {key.type.label} | {default} | {key.help.replace('|', chr(92) + '|')} |")
        parts.append(f"{title}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _header_of(table: Table) -> str:
    return next(header for header, t in tables() if t is table)


def _inline_tables() -> list[tuple[str, Table]]:
    return [("{ ... } of users and mutual", USER)]


def all_keys(table: Table = CONFIG) -> set[str]:
    """The names of all keys of a table and of the tables within it."""
    names = set()
    for key in table.keys:
        names.add(key.name)
        inner = key.type.table if isinstance(key.type, Tables) else key.type
        if isinstance(inner, Table):
            names |= all_keys(inner)
    return names
