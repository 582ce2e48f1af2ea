"""``iscsitools status``: whether all is well, for people and for monitoring."""

from __future__ import annotations

import time
from typing import Any, Final

import click

from iscsitools.cli.changing import WATCH, again, connect
from iscsitools.cli.options import SERVER, TIMES
from iscsitools.cli.output import echo_json
from iscsitools.trace.views.clock import Times, day_text
from iscsitools.trace.views.sessions import age_text

_EXIT: Final = {"ok": 0, "warning": 1, "critical": 2}


@click.command()
@SERVER
@WATCH
@TIMES
@click.option("--json", "as_json", is_flag=True, help="JSON, with exact values.")
def command(watch: float | None, times: Times, as_json: bool, **options: Any) -> int:
    """Say whether all is well with a server, and which limit bites since when.

    Exit status, as monitoring systems have it: 0: all is well; 1: a warning (a limit is reached, faults are set, a
    change could not be kept), or the server cannot be asked; 2: critical (a disk is in trouble).
    """
    with connect(options) as control:
        return again(lambda: _print(control.health(), times, as_json), watch)


def _print(found: dict[str, Any], times: Times, as_json: bool) -> int:
    if as_json:
        echo_json(found)
        return _EXIT[found["state"]]
    words = {"targets": "target", "luns": "LUN", "sessions": "session", "connections": "connection"}
    counts = ", ".join(f"{found[key]} {word}{'' if found[key] == 1 else 's'}" for key, word in words.items())
    click.echo(f"{found['name']}: {found['state']}; {counts}, up {_since(found['started'], times)}")
    for problem in found["problems"]:
        click.echo(f"{problem['level']}: {problem['text']}")
    for limit in found["limits"]:
        click.echo(f"limit {limit['limit']}={limit['value']} {_since(limit['since'], times)}")
    return _EXIT[found["state"]]


def _since(then: float, times: Times) -> str:
    return (
        f"for {age_text(max(0.0, time.time() - then))}" if times is Times.RELATIVE else f"since {day_text(then, times)}"
    )
