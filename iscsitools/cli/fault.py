"""``iscsitools fault``: faults of disks while they are served."""

from __future__ import annotations

from typing import Any

import click

from iscsitools.backstores.values import fraction
from iscsitools.cli import complete
from iscsitools.cli.changing import connect
from iscsitools.cli.groups import CommandGroup
from iscsitools.cli.options import SECONDS, SERVER
from iscsitools.cli.output import echo_json, echo_table, json_option
from iscsitools.errors import UsageError

_LUN = click.argument("lun", type=click.IntRange(0, 16383), shell_complete=complete.luns)
_CLIENT = click.option(
    "--client", metavar="PATTERN", shell_complete=complete.clients, help="Only for initiators whose names match."
)


@click.group(cls=CommandGroup)
def command() -> None:
    """Make disks slow or faulty while they are served, and cut their power.

    They need the filters for it: `iscsitools serve --lun ram+delay+error+powerloss:64M`.
    """


@command.command("list")
@SERVER
@json_option
def list_faults(as_json: bool, **options: Any) -> None:
    """List what is in force, by target and LUN."""
    with connect(options) as control:
        faults = control.faults()
    if as_json:
        echo_json(faults)
        return
    rows = [
        (each["target"], each["lun"], fault["option"], fault["value"], fault.get("client", "-"), fault.get("left", "-"))
        for each in faults
        for fault in each["faults"]
    ]
    echo_table(("TARGET", "LUN", "OPTION", "VALUE", "CLIENT", "SECONDS"), rows)


@command.command("set")
@complete.IQN
@_LUN
@click.argument("pairs", metavar="FILTER.OPTION=VALUE...", nargs=-1, required=True)
@click.option("--for", "seconds", type=SECONDS, metavar="SECONDS", help="Only for so long.")
@_CLIENT
@SERVER
def set_faults(
    iqn: str, lun: int, pairs: tuple[str, ...], seconds: float | None, client: str | None, **options: Any
) -> None:
    """Put options into force, as delay.read=20ms error.write=1%."""
    values = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"{pair!r} is not FILTER.OPTION=VALUE")
        values[key] = value
    with connect(options) as control:
        control.set_faults(iqn, lun, values, client=client or "", seconds=seconds)


@command.command()
@complete.IQN
@_LUN
@click.argument("names", metavar="[FILTER.OPTION]...", nargs=-1)
@_CLIENT
@SERVER
def clear(iqn: str, lun: int, names: tuple[str, ...], client: str | None, **options: Any) -> None:
    """Take back what was set: these options, or all. What the disk was served with is in force again."""
    with connect(options) as control:
        control.clear_faults(iqn, lun, *names, client=client)


@command.command()
@click.argument("iqn", required=False, shell_complete=complete.targets)
@click.argument("lun", type=click.IntRange(0, 16383), required=False, shell_complete=complete.luns)
@click.option(
    "--drop", default="100%", show_default=True, metavar="SHARE", help="How much of what is unflushed is lost."
)
@click.option("--torn", is_flag=True, help="Some blocks are lost in part.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Chooses the blocks.")
@SERVER
@json_option
def powercut(iqn: str | None, lun: int | None, drop: str, torn: bool, seed: int, as_json: bool, **options: Any) -> None:
    """Cut the power of a LUN, of a target's, or of all that have the filter powerloss, and serve on.

    The sessions of the targets end, and unflushed blocks are lost as they would be with a drive's cache.
    """
    try:
        share = fraction(drop)
    except ValueError as error:
        raise UsageError(f"--drop: {error}") from None
    with connect(options) as control:
        done = control.power_cut(iqn, lun, drop=share, torn=torn, seed=seed)
    if as_json:
        echo_json(done)
        return
    for each in done:
        click.echo(
            f"LUN {each['lun']} of {each['target']}: of {each['unflushed']} unflushed blocks "
            f"{each['dropped']} are lost, {each['torn']} in part"
        )
