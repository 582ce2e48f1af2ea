"""``iscsitools cmds``: SCSI commands by name."""

from __future__ import annotations

import click

from iscsitools.cli.watching import Watch, source_options, watch_sums
from iscsitools.trace.views.cmds import cmds_report


@click.command()
@source_options
def command(watch: Watch) -> None:
    """Count SCSI commands by name, with their bytes, latencies and failures.

    Prints a report at Ctrl-C, or every INTERVAL seconds, COUNT times.
    """
    watch_sums(watch, cmds_report)
