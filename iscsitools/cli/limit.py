"""``iscsitools limit``: the limits of a running server."""

from __future__ import annotations

from typing import Any

import click

from iscsitools.cli.changing import changing
from iscsitools.cli.groups import CommandGroup
from iscsitools.control import Applied, Control
from iscsitools.errors import UsageError


@click.group(cls=CommandGroup)
def command() -> None:
    """Change limits while a server runs."""


@command.command("set")
@click.argument("pairs", metavar="KEY=VALUE...", nargs=-1, required=True)
@changing()
def set_limits(control: Control, pairs: tuple[str, ...], dry_run: bool) -> Applied:
    """Set keys of the table [limits], as max_sessions=64 or nop_interval=10s."""
    limits: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"{pair!r} is not KEY=VALUE")
        if key in limits:
            raise UsageError(f"{key} is given twice")
        limits[key] = {"true": True, "yes": True, "false": False, "no": False}.get(value, value)
    return control.set_limits(dry_run=dry_run, **limits)
