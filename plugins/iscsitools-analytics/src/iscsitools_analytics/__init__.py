"""The plugin's module: names the API that it was written for, and the command that it brings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from iscsitools.hookspecs import hookimpl

if TYPE_CHECKING:
    import click

ISCSITOOLS_API = 1


@hookimpl
def register_commands(register: Callable[[click.Command], None]) -> None:
    """Register ``iscsitools analytics``."""
    from iscsitools_analytics.command import command

    register(command)
