"""Stores, compared by what their options mean, for the difference of two configurations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from iscsitools.backstores.registry import Registry
from iscsitools.backstores.spec import StackSpec, parse_options
from iscsitools.backstores.values import size as parse_size
from iscsitools.config.model import LunConfig


class Stacks:
    """Compares stores by what their options mean: ``1G`` is 1073741824, and ``yes`` is true."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def same(self, one: LunConfig, other: LunConfig) -> bool:
        """Whether two units are served in the same way, from the same store."""
        return replace(one, stack=other.stack) == other and self.same_stack(one.stack, other.stack)

    def same_stack(self, one: StackSpec, other: StackSpec) -> bool:
        """Whether two stores are the same one, with the same filters."""
        return bool(self._meaning(one) == self._meaning(other))

    def same_but_size(self, one: LunConfig, other: LunConfig) -> bool:
        """Whether nothing but the store's size can differ."""
        if replace(one, stack=other.stack) != other:
            return False
        return bool(self._meaning(one.stack, size=False) == self._meaning(other.stack, size=False))

    def size(self, stack: StackSpec) -> int:
        """The size that a store is given, 0: none."""
        if size_key(self._registry, stack.kind) == "what":
            return parse_size(stack.what)
        found = self._options(stack).get("size", 0)
        return found if isinstance(found, int) else 0

    def _options(self, stack: StackSpec) -> Mapping[str, Any]:
        cls = self._registry.backstore(stack.kind)
        return parse_options(stack.kind, tuple(cls.options), stack.options)

    def _meaning(self, stack: StackSpec, size: bool = True) -> Any:
        filters = [
            (f.name, parse_options(f.name, tuple(self._registry.filter(f.name).options), f.options))
            for f in stack.filters
        ]
        options = dict(self._options(stack))
        key = size_key(self._registry, stack.kind)
        what: Any = parse_size(stack.what) if key == "what" else stack.what
        if not size:
            what = None if key == "what" else what
            options.pop("size", None)
        return stack.kind, what, options, filters


def size_key(registry: Registry, kind: str) -> str:
    """Where the size of a kind of store is said: ``what``, the option ``size``, or nowhere (empty)."""
    cls = registry.backstore(kind)
    if cls.what == "SIZE":
        return "what"
    return "size" if any(option.name == "size" for option in cls.options) else ""
