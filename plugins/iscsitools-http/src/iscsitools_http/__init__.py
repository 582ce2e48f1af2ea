"""The plugin's module: names the API that it was written for, and registers the ``http`` backstore."""

from __future__ import annotations

from collections.abc import Callable

from iscsitools.backstores.base import Backstore
from iscsitools.hookspecs import hookimpl

from iscsitools_http.backstore import HttpBackstore

ISCSITOOLS_API = 1


@hookimpl
def register_backstores(register: Callable[[type[Backstore]], None]) -> None:
    """Register ``http``."""
    register(HttpBackstore)
