"""``iscsitools target``: targets of a running server."""

from __future__ import annotations

import click

from iscsitools.cli import complete
from iscsitools.cli.changing import changing
from iscsitools.cli.groups import CommandGroup
from iscsitools.control import Applied, Control, InUse


@click.group(cls=CommandGroup)
def command() -> None:
    """Add and remove targets while a server runs."""


@command.command()
@click.argument("iqn")
@click.option("--lun", "luns", multiple=True, metavar="KIND:WHAT[,KEY=VALUE]...", help="A disk of it, LUN 0 and on.")
@click.option("--alias", default="", help="A text for people, given to initiators at login.")
@changing()
def add(control: Control, iqn: str, luns: tuple[str, ...], alias: str, dry_run: bool) -> Applied:
    """Add the target IQN."""
    return control.add_target(iqn, *luns, alias=alias, dry_run=dry_run)


@command.command()
@complete.IQN
@changing(takes_away=True)
def remove(control: Control, iqn: str, in_use: InUse, dry_run: bool) -> Applied:
    """Remove the target IQN with its LUNs; --force ends its sessions."""
    return control.remove_target(iqn, in_use=in_use, dry_run=dry_run)
