"""``iscsitools map``: what which initiators see of a running server's targets."""

from __future__ import annotations

import click

from iscsitools.cli import complete
from iscsitools.cli.changing import changing
from iscsitools.cli.groups import CommandGroup
from iscsitools.control import Applied, Control, InUse


@click.group(cls=CommandGroup)
def command() -> None:
    """Change which LUNs initiators see, and by which numbers, while a server runs."""


@command.command("set")
@complete.IQN
@click.argument("map_name", metavar="NAME")
@click.argument("luns", metavar="[LUN=NUMBER]...", nargs=-1)
@click.option("--initiator", "initiators", multiple=True, metavar="PATTERN", help="For initiators of this name.")
@click.option("--network", "networks", multiple=True, metavar="CIDR", help="For initiators from this network.")
@changing(takes_away=True)
def set_map(
    control: Control, iqn: str, map_name: str, luns: tuple[str, ...], initiators: tuple[str, ...],
    networks: tuple[str, ...], in_use: InUse, dry_run: bool,
) -> Applied:  # fmt: skip
    """Add the map NAME to the target IQN, or change it: 0=7 is our LUN 7 as their LUN 0, 3 is LUN 3 for both.

    Without any LUN they see all. The first map that fits an initiator counts; whom none fits sees nothing of the
    target. Sessions that see other LUNs then are told.
    """
    whom = {"initiators": initiators, "networks": networks}
    return control.set_map(iqn, map_name, *luns, **whom, in_use=in_use, dry_run=dry_run)


@command.command()
@complete.IQN
@click.argument("map_name", metavar="NAME")
@changing(takes_away=True)
def remove(control: Control, iqn: str, map_name: str, in_use: InUse, dry_run: bool) -> Applied:
    """Remove the map NAME of the target IQN. Without any map, everybody sees everything."""
    return control.remove_map(iqn, map_name, in_use=in_use, dry_run=dry_run)
