"""``iscsitools portal``: where a running server listens."""

from __future__ import annotations

import click

from iscsitools.cli.changing import changing
from iscsitools.cli.groups import CommandGroup
from iscsitools.control import Applied, Control, InUse


@click.group(cls=CommandGroup)
def command() -> None:
    """Listen at other addresses while a server runs."""


@command.command()
@click.argument("portal", metavar="ADDRESS:PORT")
@changing()
def add(control: Control, portal: str, dry_run: bool) -> Applied:
    """Listen at ADDRESS:PORT too."""
    return control.add_portal(portal, dry_run=dry_run)


@command.command()
@click.argument("portal", metavar="ADDRESS:PORT")
@changing(takes_away=True)
def remove(control: Control, portal: str, in_use: InUse, dry_run: bool) -> Applied:
    """Listen at ADDRESS:PORT no more; --force ends the sessions that came by it."""
    return control.remove_portal(portal, in_use=in_use, dry_run=dry_run)
