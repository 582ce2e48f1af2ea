r"""The text ``KIND[+FILTER...]:WHAT[,key=value]...``, the value that it stands for, and the stack that is made of it.

- Filters wrap left to right: in ``file+cow+delay:disk.img`` the delay is outermost and sees a call first.
- A plain ``key=value`` is an option of the LUN if it has one of :data:`LUN_OPTION_NAMES`, else of the kind.
- ``FILTER.key=value`` is an option of that filter. When one filter is there several times, ``delay.read`` is the first
  one's (innermost), ``delay2.read`` the second's, and so on. A filter that itself is called ``delay2`` goes before.
- A backslash takes away the meaning of a comma or of a backslash after it: ``file:odd\,name.img``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from iscsitools.backstores.base import Backstore, BackstoreError, Option
from iscsitools.backstores.registry import LUN_OPTION_NAMES as LUN_OPTION_NAMES
from iscsitools.backstores.registry import Registry, suggestion

Value = str | int | float | bool
"""What an option may be given as: text as in a spec, or TOML's own types."""

_PART = re.compile(r"((?:[^\\,]|\\.|\\$)*)(,|$)", re.DOTALL)
_NUMBERED = re.compile(r"(.*?)([2-9]|[1-9][0-9]+)")
_USERINFO = re.compile(r"(?<=://)[^/?#]*@")


def without_password(text: str) -> str:
    """A spec, or its WHAT, for messages: without the user and password that a URL may have (RFC 3986 3.2.1)."""
    return _USERINFO.sub("", text)


class SpecError(BackstoreError, ValueError):
    """A spec does not say what it should; the text is one line for the user."""


@dataclass(frozen=True, slots=True)
class FilterSpec:
    """One filter of a stack and its options."""

    name: str
    options: Mapping[str, Value] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class StackSpec:
    """A backstore, its options, and the filters over it, the innermost first.

    ``lun_options`` holds what was said of the LUN (:data:`LUN_OPTION_NAMES`), unparsed; :func:`build` leaves it alone.
    """

    kind: str
    what: str
    options: Mapping[str, Value] = field(default_factory=dict, hash=False)
    filters: tuple[FilterSpec, ...] = ()
    lun_options: Mapping[str, Value] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        """Its parts as a spec has them: ``file+cow``."""
        return "+".join([self.kind, *(part.name for part in self.filters)])


def parse_spec(text: str) -> StackSpec:
    """Parse ``KIND[+FILTER...]:WHAT[,key=value]...``; raises SpecError. Names are not looked up, that is build's."""
    shown = without_password(text)
    names, colon, rest = text.partition(":")
    if not colon:
        raise SpecError(f"{shown!r}: a backstore is written KIND:WHAT, as file:disk.img or ram:64M")
    kind, *filters = names.split("+")
    if not kind or not all(filters):
        raise SpecError(f"{shown!r}: a name is missing in {names + ':'!r}")
    what, *pairs = _split(rest)
    options: dict[str, Value] = {}
    lun_options: dict[str, Value] = {}
    filter_options: list[dict[str, Value]] = [{} for _ in filters]
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise SpecError(f"{shown!r}: {pair!r} is not key=value (a comma inside of a value is written \\,)")
        name, dot, filter_key = key.partition(".")
        if dot:
            place, key = filter_options[_find_filter(shown, name, filters)], filter_key
        else:
            place = lun_options if key in LUN_OPTION_NAMES else options
        if key in place:
            raise SpecError(f"{shown!r}: {pair.partition('=')[0]} is given twice")
        place[key] = value
    specs = tuple(FilterSpec(n, o) for n, o in zip(filters, filter_options, strict=True))
    return StackSpec(kind, what, options, specs, lun_options)


def build(spec: StackSpec, registry: Registry) -> Backstore:
    """Make the stack that ``spec`` describes, not opened; returns its outermost part.

    Options may be texts or already typed values. Raises BackstoreError (a SpecError where the spec is wrong).
    """
    cls = registry.backstore(spec.kind)
    store = _make(spec.kind, cls, (spec.what,), spec.options, "")
    store.source = spec.what
    for part in spec.filters:
        filter_cls = registry.filter(part.name)
        store = _make(part.name, filter_cls, (store,), part.options, f"{part.name}.")
        store.source = spec.what
    return store


def parse_named(text: str) -> tuple[str, dict[str, str]]:
    """Parse ``NAME[,key=value]...``, as a plugin's options are written; raises SpecError."""
    name, *pairs = _split(text)
    options: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise SpecError(f"{name}: {pair!r} is not key=value (a comma inside of a value is written \\,)")
        if key in options:
            raise SpecError(f"{name}: {key} is given twice")
        options[key] = value
    return name, options


def parse_options(
    name: str,
    options: tuple[Option, ...],
    given: Mapping[str, Value],
    prefix: str = "",
    others: Iterable[str] = LUN_OPTION_NAMES,
) -> dict[str, Any]:
    """Turn the ``given`` values into typed ones, with defaults for the others; raises SpecError naming the option.

    ``others``: what may be written in the same place without a prefix, for the list of what there is.
    """
    known = {option.name: option for option in options}
    for key in given:
        if key not in known:
            names = known if prefix else [*known, *others]
            raise SpecError(f"{name} has no option {prefix + key!r}{suggestion(key, names)}")
    values: dict[str, Any] = {}
    for key, option in known.items():
        if key not in given:
            values[key] = option.default
            continue
        try:
            values[key] = option.parse(_text_of(given[key]))
        except ValueError as error:
            raise SpecError(f"{name}: {prefix}{key}: {error}") from None
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise SpecError(f"{name}: {prefix}{key}: its parser failed: {type(error).__name__}: {error}") from error
    return values


def _make(name: str, cls: type[Any], args: tuple[Any, ...], given: Mapping[str, Value], prefix: str) -> Backstore:
    values = parse_options(name, tuple(cls.options), given, prefix)
    try:
        store = cls(*args, **values)
    except (BackstoreError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise BackstoreError(f"{name}: cannot be made: {type(error).__name__}: {error}") from error
    assert isinstance(store, Backstore)
    return store


def _text_of(value: Value) -> str:
    """The text of a value as a spec would have it: TOML's true is ``yes``."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (str, int, float)):
        return str(value)
    raise ValueError(f"a {type(value).__name__} cannot be an option's value")


def _split(text: str) -> list[str]:
    r"""Cut at commas that no backslash stands before; undo ``\,`` and ``\\``."""
    parts = []
    position = 0
    while True:
        match = _PART.match(text, position)
        assert match is not None  # it matches the empty text too
        parts.append(re.sub(r"\\([\\,])", r"\1", match[1]))
        position = match.end()
        if not match[2]:
            return parts


def _find_filter(text: str, name: str, filters: list[str]) -> int:
    """The place in ``filters`` that ``name`` of ``name.key`` means."""
    if name in filters:
        return filters.index(name)
    numbered = _NUMBERED.fullmatch(name)
    if numbered is not None:
        places = [i for i, f in enumerate(filters) if f == numbered[1]]
        if len(places) >= int(numbered[2]):
            return places[int(numbered[2]) - 1]
    raise SpecError(f"{text!r}: there is no filter {name!r} in it")
