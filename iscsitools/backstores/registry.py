"""Which backstores and filters there are, by name, and what options plugins have besides."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Final

from iscsitools.backstores.base import Backstore, BackstoreError, Filter, Option

LUN_OPTION_NAMES: Final = frozenset(
    {"block_size", "physical_block_size", "readonly", "thin", "removable", "cache", "serial", "naa", "reservations"}
)
"""Options that every LUN has whatever it is made of; they are the disk's, not the backstore's."""

_NAME = re.compile(r"[a-z][a-z0-9_-]*")


def is_name(text: object) -> bool:
    """Whether something can be named so in a configuration: a-z, 0-9, ``_`` and ``-``, a letter first."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def suggestion(word: str, known: Iterable[str]) -> str:
    """Say which of ``known`` may have been meant, and list them all: the end of an "unknown ..." line."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{hint} (known: {', '.join(names) or 'none'})"


class Registry:
    """The backstores and filters that can be named in a spec, and the options of plugins themselves by their names."""

    __slots__ = ("backstores", "filters", "plugin_options")

    def __init__(self) -> None:
        self.backstores: dict[str, type[Backstore]] = {}
        self.filters: dict[str, type[Filter]] = {}
        self.plugin_options: dict[str, tuple[Option, ...]] = {}

    def add_backstore(self, cls: type[Backstore]) -> None:
        """Add a backstore under its ``kind``. Raises BackstoreError when the name is taken or is none."""
        self._check(cls, Backstore, self.backstores, "backstore")
        taken = LUN_OPTION_NAMES.intersection(option.name for option in cls.options)
        if taken:
            raise BackstoreError(
                f"{cls.__qualname__}: {min(taken)} is an option of every LUN and cannot be a backstore's"
            )
        if issubclass(cls, Filter):
            raise BackstoreError(f"{cls.__qualname__} is a filter: it goes to register_filters")
        self.backstores[cls.kind] = cls

    def add_filter(self, cls: type[Filter]) -> None:
        """Add a filter under its ``kind``. Raises BackstoreError when the name is taken or is none."""
        self._check(cls, Filter, self.filters, "filter")
        self.filters[cls.kind] = cls

    def add_plugin_option(self, plugin: str, option: Option) -> None:
        """Add an option of a plugin. Raises BackstoreError when the plugin has one of that name, or it is none."""
        if not isinstance(option, Option):
            raise BackstoreError(f"{option!r} is no iscsitools.backstores.base.Option")
        options = self.plugin_options.get(plugin, ())
        if any(other.name == option.name for other in options):
            raise BackstoreError(f"the option {option.name!r} is registered twice")
        self.plugin_options[plugin] = (*options, option)

    def backstore(self, kind: str) -> type[Backstore]:
        """The backstore of that name; raises BackstoreError naming those that there are."""
        try:
            return self.backstores[kind]
        except KeyError:
            raise BackstoreError(f"unknown backstore {kind!r}{suggestion(kind, self.backstores)}") from None

    def filter(self, name: str) -> type[Filter]:
        """The filter of that name; raises BackstoreError naming those that there are."""
        try:
            return self.filters[name]
        except KeyError:
            raise BackstoreError(f"unknown filter {name!r}{suggestion(name, self.filters)}") from None

    @staticmethod
    def _check(cls: type[Backstore], base: type[Backstore], taken: Iterable[str], noun: str) -> None:
        if not (isinstance(cls, type) and issubclass(cls, base)):
            raise BackstoreError(f"{cls!r} is no subclass of iscsitools.backstores.base.{base.__name__}")
        kind = cls.kind
        if not is_name(kind):
            raise BackstoreError(f"{cls.__qualname__}.kind is {kind!r}: a {noun}'s name is a-z, 0-9, _ and -")
        if kind in taken:
            raise BackstoreError(f"there is already a {noun} named {kind!r}")
        for option in cls.options:
            if not isinstance(option, Option):
                raise BackstoreError(f"{cls.__qualname__}.options: {option!r} is no iscsitools.backstores.base.Option")
