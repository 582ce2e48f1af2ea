"""``iscsitools user``: CHAP users of a running server."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from iscsitools.cli import complete
from iscsitools.cli.changing import changing
from iscsitools.cli.groups import CommandGroup
from iscsitools.control import Applied, Control, InUse
from iscsitools.errors import UsageError


@click.group(cls=CommandGroup)
def command() -> None:
    """Add, change and remove CHAP users while a server runs."""


def _typed() -> str:
    """The secret from whoever types it, or the first line of standard input."""
    if sys.stdin.isatty():
        return str(click.prompt("Secret", hide_input=True, err=True))
    return sys.stdin.readline().rstrip("\n")


@command.command("set")
@complete.IQN
@click.argument("user")
@click.option(
    "--secret-file", type=click.Path(), help="File with the secret, which the server reads again at each start."
)
@click.option("--secret-env", metavar="VARIABLE", help="Environment variable of the server's with the secret.")
@click.option(
    "--initiator", "initiators", multiple=True, metavar="PATTERN", help="A name that may use it; not given: all."
)
@changing()
def set_user(
    control: Control, iqn: str, user: str, secret_file: str | None, secret_env: str | None,
    initiators: tuple[str, ...], dry_run: bool,
) -> Applied:  # fmt: skip
    """Add USER to the target IQN, or change its secret; CHAP is required from then on.

    Without --secret-file and --secret-env the secret is asked for, or read from standard input. Sessions that are open
    go on.
    """
    if secret_file and secret_env:
        raise UsageError("--secret-file and --secret-env cannot be given together")
    secret: dict[str, Any] = {"secret_file": os.path.abspath(secret_file)} if secret_file else {}
    if secret_env:
        secret = {"secret_env": secret_env}
    if not secret:
        secret = {"secret": _typed()}
        if not secret["secret"]:
            raise UsageError("the secret is empty")
    if initiators:
        secret["initiators"] = list(initiators)
    return control.set_user(iqn, user, dry_run=dry_run, **secret)


@command.command()
@complete.IQN
@click.argument("user")
@changing(takes_away=True)
def remove(control: Control, iqn: str, user: str, in_use: InUse, dry_run: bool) -> Applied:
    """Remove USER from the target IQN; --force ends its sessions."""
    return control.remove_user(iqn, user, in_use=in_use, dry_run=dry_run)
