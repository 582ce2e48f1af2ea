"""``iscsitools acl``: which initiators a running server lets in."""

from __future__ import annotations

import click

from iscsitools.cli import complete
from iscsitools.cli.changing import changing
from iscsitools.cli.groups import CommandGroup
from iscsitools.control import Applied, Control, InUse

_WHOM = click.argument("whom", metavar="PATTERN|NETWORK...", nargs=-1, required=True)


@click.group(cls=CommandGroup)
def command() -> None:
    """Change which initiators a target lets in while a server runs."""


@command.command()
@complete.IQN
@_WHOM
@changing(takes_away=True)
def add(control: Control, iqn: str, whom: tuple[str, ...], in_use: InUse, dry_run: bool) -> Applied:
    """Let in the initiators whose names match PATTERN (* ? []), or that come from NETWORK (192.0.2.0/24).

    The first pattern keeps all other names out, the first network all other networks.
    """
    return control.let_in(iqn, *whom, in_use=in_use, dry_run=dry_run)


@command.command()
@complete.IQN
@_WHOM
@changing(takes_away=True)
def remove(control: Control, iqn: str, whom: tuple[str, ...], in_use: InUse, dry_run: bool) -> Applied:
    """Take PATTERN or NETWORK from its list; --force ends the sessions of those who are not let in any more."""
    return control.keep_out(iqn, *whom, in_use=in_use, dry_run=dry_run)


@command.command()
@complete.IQN
@changing()
def clear(control: Control, iqn: str, dry_run: bool) -> Applied:
    """Let every initiator in, from every network."""
    return control.let_all_in(iqn, dry_run=dry_run)
