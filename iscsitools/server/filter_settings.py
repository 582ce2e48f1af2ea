"""The filters of a stack, and what has been put into force of their options."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from iscsitools.backstores.base import Backstore, Filter


def filters_of(store: Backstore) -> dict[str, Filter]:
    """The filters over a store by the names that a spec has for them: ``delay``, and ``delay2`` for a second one."""
    stack: list[Filter] = []
    while isinstance(store, Filter):
        stack.append(store)
        store = store.inner
    named: dict[str, Filter] = {}
    for found in reversed(stack):
        count = 1 + sum(other.kind == found.kind for other in named.values())
        named[found.kind if count == 1 else f"{found.kind}{count}"] = found
    return named


def settings_of(store: Backstore) -> list[dict[str, Any]]:
    """What ``configure`` has put into force in a stack, for :func:`put_into_force` of another process."""
    now = time.monotonic()
    return [
        {"filter": name, "option": setting.name, "text": setting.text, "client": setting.client}
        | ({"left": max(0.0, setting.until - now)} if setting.until is not None else {})
        for name, found in filters_of(store).items()
        for setting in found.settings()
        if setting.text
    ]


def put_into_force(store: Backstore, settings: Sequence[Mapping[str, Any]]) -> None:
    """Put into force what :func:`settings_of` told. Raises BackstoreError."""
    named = filters_of(store)
    for each in settings:
        if each.get("left") == 0:
            continue
        named[each["filter"]].configure({each["option"]: each["text"]}, each["client"], each.get("left"))
