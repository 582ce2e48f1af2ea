"""``iscsitools status``: whether all is well, for people and for monitoring."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import click

from iscsitools.cli.changing import WATCH, again, connect
from iscsitools.cli.options import SERVER
from iscsitools.cli.output import echo_json

_EXIT: Final = {"ok": 0, "warning": 1, "critical": 2}


@click.command()
@SERVER
@WATCH
@click.option("--utc", is_flag=True, help="Times of day in UTC.")
@click.option("--json", "as_json", is_flag=True, help="JSON, with exact values.")
def command(watch: float | None, utc: bool, as_json: bool, **options: Any) -> int:
    """Say whether all is well with a server, and which limit bites since when.

    Exit status, as monitoring systems have it: 0: all is well; 1: a warning (a limit is reached, faults are set), or
    the server cannot be asked; 2: critical (a disk is in trouble).
    """
    with connect(options) as control:
        return again(lambda: _print(control.health(), utc, as_json), watch)


def _print(found: dict[str, Any], utc: bool, as_json: bool) -> int:
    if as_json:
        echo_json(found)
        return _EXIT[found["state"]]
    words = {"targets": "target", "luns": "LUN", "sessions": "session", "connections": "connection"}
    counts = ", ".join(f"{found[key]} {word}{'' if found[key] == 1 else 's'}" for key, word in words.items())
    click.echo(f"{found['name']}: {found['state']}; {counts}, up since {_clock(found['started'], utc)}")
    for problem in found["problems"]:
        click.echo(f"{problem['level']}: {problem['text']}")
    for limit in found["limits"]:
        click.echo(f"limit {limit['limit']}={limit['value']} since {_clock(limit['since'], utc)}")
    return _EXIT[found["state"]]


def _clock(seconds: float, utc: bool) -> str:
    time = datetime.fromtimestamp(seconds, UTC)
    return (time if utc else time.astimezone()).isoformat(sep=" ", timespec="seconds")
