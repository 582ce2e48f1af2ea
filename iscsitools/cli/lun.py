"""``iscsitools lun``: LUNs of a running server."""

from __future__ import annotations

import re

import click

from iscsitools.cli import complete
from iscsitools.cli.changing import changing
from iscsitools.cli.groups import CommandGroup
from iscsitools.control import Applied, Control, InUse

_NUMBER = click.IntRange(0, 16383)
_LUN = click.argument("lun", type=_NUMBER, shell_complete=complete.luns)
_NUMBERED = re.compile(r"([0-9]{1,5})=(.*)", re.DOTALL)


@click.group(cls=CommandGroup)
def command() -> None:
    """Add, remove, resize and move LUNs while a server runs."""


@command.command()
@complete.IQN
@click.argument("store", metavar="[N=]KIND:WHAT[,KEY=VALUE]...")
@changing()
def add(control: Control, iqn: str, store: str, dry_run: bool) -> Applied:
    """Add a disk to the target IQN, as file:disk.img,size=1G or 1=ram:64M; the lowest free number if none is given.

    Initiators that are logged in are told that the list of LUNs has changed.
    """
    numbered = _NUMBERED.fullmatch(store)
    if numbered is not None:
        return control.add_lun(iqn, numbered[2], int(numbered[1]), dry_run=dry_run)
    return control.add_lun(iqn, store, dry_run=dry_run)


@command.command()
@complete.IQN
@_LUN
@changing(takes_away=True)
def remove(control: Control, iqn: str, lun: int, in_use: InUse, dry_run: bool) -> Applied:
    """Remove a LUN; what it is made of stays where it is.

    It is in use while a session is open that has sent it a command.
    """
    return control.remove_lun(iqn, lun, in_use=in_use, dry_run=dry_run)


@command.command()
@complete.IQN
@_LUN
@click.argument("size")
@changing(takes_away=True)
def resize(control: Control, iqn: str, lun: int, size: str, in_use: InUse, dry_run: bool) -> Applied:
    """Give a LUN another SIZE, as 2G; only --force makes it smaller. Initiators are told of the new capacity."""
    return control.resize_lun(iqn, lun, size, in_use=in_use, dry_run=dry_run)


@command.command()
@complete.IQN
@_LUN
@click.argument("to", type=_NUMBER)
@changing(takes_away=True)
def move(control: Control, iqn: str, lun: int, to: int, in_use: InUse, dry_run: bool) -> Applied:
    """Give a LUN the number TO; its content and its identity stay."""
    return control.move_lun(iqn, lun, to, in_use=in_use, dry_run=dry_run)
