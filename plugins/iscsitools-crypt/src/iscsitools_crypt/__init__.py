"""The plugin's module: names the API that it was written for, and registers the ``crypt`` filter."""

from __future__ import annotations

from collections.abc import Callable

from iscsitools.backstores.base import Filter
from iscsitools.hookspecs import hookimpl

from iscsitools_crypt.filter import CryptFilter

ISCSITOOLS_API = 1


@hookimpl
def register_filters(register: Callable[[type[Filter]], None]) -> None:
    """Register ``crypt``."""
    register(CryptFilter)
