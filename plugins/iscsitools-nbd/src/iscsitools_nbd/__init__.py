"""The plugin's module: names the API that it was written for, and registers the ``nbd`` backstore."""

from __future__ import annotations

from collections.abc import Callable

from iscsitools.backstores.base import Backstore
from iscsitools.hookspecs import hookimpl

from iscsitools_nbd.backstore import NbdBackstore

ISCSITOOLS_API = 1


@hookimpl
def register_backstores(register: Callable[[type[Backstore]], None]) -> None:
    """Register ``nbd``."""
    register(NbdBackstore)
