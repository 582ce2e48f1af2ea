"""``iscsitools alua``: access states of portal groups."""

from __future__ import annotations

from typing import Any

import click

from iscsitools.cli import complete
from iscsitools.cli.changing import changing, connect
from iscsitools.cli.groups import CommandGroup
from iscsitools.cli.options import SECONDS, SERVER
from iscsitools.cli.output import echo_json, echo_table, json_option
from iscsitools.control import Applied, Control


@click.group(cls=CommandGroup)
def command() -> None:
    """Show access states of portal groups, and change them while a server runs.

    Each portal group (`--portal ADDRESS:PORT,GROUP`) is a target port group. Initiators with several paths go by their
    states: optimized, non-optimized, standby, unavailable.
    """


@command.command("list")
@SERVER
@json_option
def list_states(as_json: bool, **options: Any) -> None:
    """List the states by target, LUN and portal group, and how each came about.

    BY is command (SET TARGET PORT GROUPS of an initiator), target (changed here), or none (as at the start).
    """
    with connect(options) as control:
        targets = control.tree()["targets"]
    found = [
        {"target": target["iqn"], "lun": lun["lun"], **each}
        for target in targets
        for lun in target["luns"]
        for each in lun["access"]
    ]
    if as_json:
        echo_json(found)
        return
    rows = [(each["target"], each["lun"], each["group"], each["state"], each["by"]) for each in found]
    echo_table(("TARGET", "LUN", "GROUP", "STATE", "BY"), rows)


@command.command("set")
@complete.IQN
@click.argument("states", metavar="GROUP=STATE...", nargs=-1, required=True)
@click.option(
    "--transition", type=SECONDS, metavar="SECONDS", help="How long it takes, now and later: transitioning until then."
)
@changing()
def set_states(
    control: Control, iqn: str, states: tuple[str, ...], transition: float | None, dry_run: bool
) -> Applied:  # fmt: skip
    """Bring portal groups into states, as 1=standby 2=optimized; initiators get a unit attention."""
    return control.set_access(iqn, *states, transition=transition, dry_run=dry_run)
