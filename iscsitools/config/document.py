"""A Config as the document that says it: plain values by the schema's keys, and the same as TOML.

Reading the document gives the same Config again. Keys that have their default are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, Final

from iscsitools.backstores.spec import StackSpec
from iscsitools.config.key_tables import Key, ListOf, PluginTables, StoreValue, Table, Tables
from iscsitools.config.model import ChapUser, Config, LunConfig, PluginConfig, Secret
from iscsitools.config.scalars import ACCESS, CACHE, MAPPED, RESERVATIONS
from iscsitools.config.schema import CONFIG, LUN, THREADS, USER
from iscsitools.iscsi.login.policy import ChapAlgorithm

Document = dict[str, Any]
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_FROM_FILE: Final = "file "
_FROM_ENVIRONMENT: Final = "environment variable "


def document_of(config: Config) -> Document:
    """The document of a configuration; stores are tables in it, LUNs have their numbers.

    A secret stands in it as it was given: by its file, by its environment variable, or itself.
    """
    return _table(CONFIG, config)


def lun_document(lun: LunConfig) -> Document:
    """The table of one LUN in it."""
    return _table(LUN, lun)


def _table(table: Table, model: Any) -> Document:
    found: Document = {}
    for key in table.keys:
        name = key.field or key.name
        if table is USER and name not in ("name", "initiators"):
            continue
        value = getattr(model, name)
        if key.required or (key.name == "number") or value != table.default(key):
            found[key.name] = _value(key, value)
    if isinstance(model, ChapUser):
        found |= _secret(model.secret)
    return found


def _secret(secret: Secret) -> Document:
    source = secret.source
    if source.startswith(_FROM_FILE):
        return {"secret_file": source.removeprefix(_FROM_FILE)}
    if source.startswith(_FROM_ENVIRONMENT):
        return {"secret_env": source.removeprefix(_FROM_ENVIRONMENT)}
    return {"secret": secret.value.decode(errors="surrogateescape")}


def _value(key: Key, value: Any) -> Any:
    kind = key.type
    if isinstance(kind, Table):
        return _table(kind, value)
    if isinstance(kind, Tables):
        return [_table(kind.table, item) for item in value]
    if isinstance(kind, StoreValue):
        return _store(value)
    if isinstance(kind, PluginTables):
        return _plugins(value)
    if isinstance(kind, ListOf):
        return [f"{item[0]}={item[1]}" if kind.item in (ACCESS, MAPPED) else _scalar(item) for item in value]
    if kind is CACHE:
        return "writeback" if value else "writethrough"
    if kind is RESERVATIONS:
        return "keep" if value else "aptpl"
    if kind is THREADS:
        return value or "auto"
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, ChapAlgorithm):
        return value.name.lower().replace("_", "-")
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return value.hex()
    return value if isinstance(value, bool | int | float | str) else str(value)


def _store(stack: StackSpec) -> Document:
    found: Document = {"kind": stack.kind, "what": stack.what, **stack.options}
    if stack.filters:
        found["filters"] = [{"name": part.name, **part.options} for part in stack.filters]
    return found


def _plugins(plugins: tuple[PluginConfig, ...]) -> Document:
    return {plugin.name: dict(plugin.options) for plugin in plugins}


def toml_text(document: Mapping[str, Any]) -> str:
    """A document as TOML; tables that are arrays of the schema's have headers of their own."""
    return "\n".join(_lines(document, ())).lstrip("\n") + "\n"


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """The keys of a table, then the tables within it: TOML's order."""
    inner: list[tuple[str, Any]] = []
    for name, value in table.items():
        if _has_header(name, value):
            inner.append((name, value))
        else:
            yield f"{_key(name)} = {_inline(value)}"
    for name, value in inner:
        header = ".".join(map(_key, (*path, name)))
        for one in value if isinstance(value, list) else [value]:
            yield ""
            yield f"[[{header}]]" if isinstance(value, list) else f"[{header}]"
            yield from _lines(one, (*path, name))


def _has_header(name: str, value: Any) -> bool:
    if isinstance(value, dict):
        return name not in ("store", "mutual")
    return name in ("target", "lun", "map") and isinstance(value, list) and bool(value)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        pairs = ", ".join(f"{_key(name)} = {_inline(inner)}" for name, inner in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _text(value) if isinstance(value, str) else repr(value)


def _text(text: str) -> str:
    """A basic string. JSON's are TOML's but for DEL, which TOML wants escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
