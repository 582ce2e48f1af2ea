"""The plugin's module: names the API that it was written for, and registers the ``rbd`` backstore."""

from __future__ import annotations

from collections.abc import Callable

from iscsitools.backstores.base import Backstore
from iscsitools.hookspecs import hookimpl

from iscsitools_rbd.backstore import RbdBackstore

ISCSITOOLS_API = 1


@hookimpl
def register_backstores(register: Callable[[type[Backstore]], None]) -> None:
    """Register ``rbd``."""
    register(RbdBackstore)
