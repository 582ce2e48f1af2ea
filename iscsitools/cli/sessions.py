"""``iscsitools sessions``: who is logged in; ``sessions drop``: end a session."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from iscsitools.cli import complete
from iscsitools.cli.groups import CommandGroup
from iscsitools.cli.options import FILTER, FORM, READ, SERVER, TIMES, take_source
from iscsitools.cli.output import take_any_name
from iscsitools.cli.watching import one_server, trace_errors
from iscsitools.errors import UsageError
from iscsitools.probes.table import ALL_MASK
from iscsitools.trace.client.attach import WatchedServer
from iscsitools.trace.client.checked import selected, sessions_of
from iscsitools.trace.client.recording import open_file
from iscsitools.trace.protocol import Message, TraceError
from iscsitools.trace.views.clock import Times
from iscsitools.trace.views.report import as_csv, without_blanks
from iscsitools.trace.views.sessions import sessions_report
from iscsitools.trace.views.watch import WatchOptions


@click.group(cls=CommandGroup, invoke_without_command=True)
@FILTER
@SERVER
@READ
@TIMES
@FORM
@click.pass_context
def command(ctx: click.Context, /, form: str | None, times: Times, **options: Any) -> None:
    """List the sessions: initiator, address, target, age, what was negotiated, and the work so far.

    What is the matter with the disks that one uses stands there too: a flush that failed, a file that was deleted.
    With --lun, those that have sent a command to this unit.
    """
    source = take_source(options)
    if ctx.invoked_subcommand is not None:
        if form or source != WatchOptions(source.name, source.socket):
            raise UsageError(f"{ctx.invoked_subcommand} takes only --name and --socket")
        one_server(source)
        ctx.obj = source
        return
    one_server(source)
    take_any_name(exact=form is not None)
    with trace_errors():
        sessions = selected(
            _recorded(source) if source.read is not None else _asked(source), source.selection(ALL_MASK)
        )
    # A recording does not say when it was told of the sessions, so their ages are all that is known.
    report = sessions_report(sessions, time.time() if source.read is None else None, times)
    # click.echo would write UTF-8 where the encoding is ASCII.
    if form == "json":
        print(json.dumps([without_blanks(session) for session in sessions]))
    elif form == "csv":
        print(as_csv([report.names, *report.rows]))
    else:
        print("\n".join(report.lines))


def _asked(source: WatchOptions) -> list[Message]:
    with WatchedServer(source.name, source.socket) as server:
        return sessions_of(server.sessions())


def _recorded(source: WatchOptions) -> list[Message]:
    """What the recording says last of the sessions; notes on standard error when it was cut off."""
    assert source.read is not None
    with open_file(source.read) as trace:
        while not trace.ended:
            trace.read_block()
            trace.take_closed()
            trace.take_strings()
        if trace.sessions is None:
            raise TraceError(f"{trace.name}: the recording does not say who was logged in")
        if trace.note:
            click.echo(f"iscsitools: {trace.note}", err=True)
        return trace.sessions


@command.command()
@click.argument("session", metavar="ID", shell_complete=complete.sessions)
@click.pass_obj
def drop(source: WatchOptions, session: str) -> None:
    """End the session ID, a name that `sessions` prints first. Only the server's owner may."""
    name, socket = source.name, source.socket
    if socket is not None:
        if not socket.endswith(".watch"):
            raise UsageError("--socket is the path of a watch socket: NAME.watch")
        socket = socket.removesuffix(".watch") + ".control"
    with trace_errors(), WatchedServer(name, socket, control=True) as server:
        server.drop(session)
    click.echo(f"session {session} was dropped")
