"""The plugin that brings the built-in backstores and filters."""

from __future__ import annotations

from collections.abc import Callable

from iscsitools.backstores.base import Backstore, Filter
from iscsitools.backstores.file import FileBackstore
from iscsitools.backstores.filters.cow import CowFilter
from iscsitools.backstores.filters.delay import DelayFilter
from iscsitools.backstores.filters.error import ErrorFilter
from iscsitools.backstores.filters.powerloss import PowerlossFilter
from iscsitools.backstores.filters.readonly import ReadonlyFilter
from iscsitools.backstores.null import NullBackstore
from iscsitools.backstores.ram import RamBackstore
from iscsitools.hookspecs import hookimpl

ISCSITOOLS_API = 1


@hookimpl
def register_backstores(register: Callable[[type[Backstore]], None]) -> None:
    """Register what WHAT can be kept in."""
    for cls in (FileBackstore, RamBackstore, NullBackstore):
        register(cls)


@hookimpl
def register_filters(register: Callable[[type[Filter]], None]) -> None:
    """Register what can stand over a backstore."""
    for cls in (ReadonlyFilter, DelayFilter, ErrorFilter, PowerlossFilter, CowFilter):
        register(cls)
