"""``iscsitools apply``: makes a running server match a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from iscsitools.cli.changing import connect, in_use, in_use_options, show
from iscsitools.cli.options import SERVER
from iscsitools.config.load import read_text
from iscsitools.errors import UsageError


@click.command()
@click.option("-f", "--file", required=True, type=click.Path(), help="The TOML file; - is standard input.")
@click.option("--diff", is_flag=True, help="As --dry-run; exit status 1 if something would change.")
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@in_use_options
@SERVER
@click.option("--json", "as_json", is_flag=True, help="Print the changes as JSON.")
def command(file: str, diff: bool, dry_run: bool, drain: bool, force: bool, as_json: bool, **options: Any) -> int:
    """Make a running server match a file, and touch only what differs.

    Prints each change, as "LUN 3 of iqn.2026-11.example:disks grows from 1G to 2G". Everything that can fail is tried
    before anything is changed: stores are opened, portals bound. What sessions use is not taken away, unless --drain
    waits for them or --force does not; a disk is made smaller by --force alone.

    Sessions that have nothing to do with a change notice nothing of it. Those of a target whose LUNs change get a unit
    attention. Timers of [limits] hold for new connections, and what is negotiated for new sessions.

    What the file does not say at its top (portals, name, log_level, ...) stays as it is. name, log_format, watch_group,
    provider, data_path, threads, state and plugin cannot change without a restart. Paths are relative to the server's
    directory.

    Exit status: 0; 1 when it was refused or failed; 2 when the file is wrong.
    """
    if diff and dry_run:
        raise UsageError("--diff and --dry-run cannot be given together")
    text = read_text(Path("/dev/stdin" if file == "-" else file))
    name = "standard input" if file == "-" else os.path.abspath(file)
    with connect(options) as control:
        applied = control.apply(toml=text, file=name, dry_run=dry_run or diff, in_use=in_use(drain, force))
    show(applied, as_json, dry_run or diff)
    return 1 if diff and applied.changes else 0
