"""What the commands that change a running server share: their options, how they reach it, what they print."""

from __future__ import annotations

import functools
import re
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click

from iscsitools.cli.options import SECONDS, SERVER, take_source, together
from iscsitools.cli.output import echo_json
from iscsitools.cli.watching import one_server, trace_errors
from iscsitools.control import Applied, Code, Control, ControlError, InUse
from iscsitools.control.client import control_path
from iscsitools.errors import UsageError

_F = TypeVar("_F", bound=Callable[..., Any])
_T = TypeVar("_T")


def connect(options: dict[str, Any]) -> Control:
    """Connect to the server that ``--name`` or ``--socket`` says; takes them out of the options."""
    source = take_source({name: options.pop(name) for name in ("name", "socket")})
    one_server(source)
    try:
        socket = None if source.socket is None else control_path(source.socket)
    except ValueError as error:
        raise UsageError(str(error)) from None
    with trace_errors():
        return Control(source.name, socket, progress=_Progress())


class _Progress:
    """Says on standard error what is waited for, each thing once."""

    def __init__(self) -> None:
        self._said = ""

    def __call__(self, text: str) -> None:
        if text and text != self._said:
            click.echo(f"iscsitools: waiting: {text} (Ctrl-C gives up)", err=True)
            self._said = text


WATCH = click.option("--watch", type=SECONDS, metavar="SECONDS", help="Again every so many seconds, until Ctrl-C.")


def again(report: Callable[[], _T], seconds: float | None) -> _T:
    """Make a report, and with ``seconds`` another one each time that they have passed; on a terminal in its place."""
    while True:
        if seconds is not None and sys.stdout.isatty():
            click.clear()
        result = report()
        if seconds is None:
            return result
        sys.stdout.flush()
        time.sleep(seconds)


_JSON = click.option("--json", "as_json", is_flag=True, help="Print the changes as JSON.")
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
_IN_USE = together(
    click.option("--drain", is_flag=True, help="Wait until no session uses what is taken away."),
    click.option("--force", is_flag=True, help="Take it away from the sessions that use it."),
)


def changing(*, takes_away: bool = False) -> Callable[[_F], _F]:
    """Give a command the common options, and a connection; it returns what was applied, which is printed.

    With ``takes_away``, it gets ``in_use`` from ``--drain`` and ``--force``.
    """

    def decorate(command: _F) -> _F:
        @_DRY_RUN
        @SERVER
        @_JSON
        @functools.wraps(command)
        def wrapped(as_json: bool, **options: Any) -> None:
            if takes_away:
                options["in_use"] = in_use(options.pop("drain"), options.pop("force"))
            with connect(options) as control:
                try:
                    applied = command(control, **options)
                except ControlError as error:
                    raise _by_key(error) from None
            show(applied, as_json, options.get("dry_run", False))

        return cast(_F, _IN_USE(wrapped) if takes_away else wrapped)

    return decorate


_PLACE = re.compile(r"(?=[^:]*\[)(?:[a-z_]+(?:\[\d+\])?\.)*([a-z_]+)(?:\[\d+\])?: ")
"""A place in a document, as ``target[0].access[1]: ``, with the key at its end."""


def _by_key(error: ControlError) -> ControlError:
    """What is wrong with a change, by the key alone: who gave it on the command line has not seen the document."""
    if error.code is not Code.CONFIGURATION:
        return error
    return ControlError(error.code, *(_PLACE.sub(r"\1: ", line, count=1) for line in error.lines))


in_use_options = _IN_USE


def in_use(drain: bool, force: bool) -> InUse:
    """What two options say. Raises UsageError for both."""
    if drain and force:
        raise UsageError("--drain and --force cannot be given together")
    return InUse.DRAIN if drain else InUse.FORCE if force else InUse.REFUSE


def show(applied: Applied, as_json: bool, dry_run: bool) -> None:
    """Print what was changed, or would be."""
    for warning in applied.warnings:
        click.echo(f"iscsitools: warning: {warning}", err=True)
    if as_json:
        echo_json({"generation": applied.generation, "applied": not dry_run, "changes": applied.changes})
        return
    for line in applied.lines or ["nothing to change"]:
        click.echo(line)
