"""``iscsitools io``: reads and writes by client."""

from __future__ import annotations

import click

from iscsitools.cli.watching import Watch, source_options, watch_sums
from iscsitools.trace.views.io import io_report


@click.command()
@source_options
@click.option("--commands", is_flag=True, help="Count SCSI commands, not data PDUs.")
def command(watch: Watch, commands: bool) -> None:
    """Report reads and writes by client, as the script iscsiio does.

    Prints a report at Ctrl-C, or every INTERVAL seconds, COUNT times.
    """
    watch_sums(watch, lambda snapshot, elapsed: io_report(snapshot, elapsed, commands))
