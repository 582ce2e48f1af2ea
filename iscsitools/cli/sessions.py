"""``iscsitools sessions``: who is logged in; ``sessions drop``: end a session."""

from __future__ import annotations

import json

import click

from iscsitools.cli.watching import one_server, trace_errors
from iscsitools.errors import UsageError
from iscsitools.trace.client import Server
from iscsitools.trace.selection import address_of
from iscsitools.trace.views.report import as_csv
from iscsitools.trace.views.sessions import sessions_report
from iscsitools.trace.views.watch import Source


@click.group(invoke_without_command=True)
@click.option("--client", metavar="ADDRESS", help="Only sessions from this address, or of this initiator.")
@click.option("--target", metavar="IQN", help="Only sessions to this target.")
@click.option("--name", help="The server to ask, when several run.")
@click.option("--socket", metavar="PATH", type=click.Path(), help="The server's watch socket, instead of --name.")
@click.option("--json", "form", flag_value="json", help="A list of JSON objects.")
@click.option("--csv", "form", flag_value="csv", help="Comma-separated values, names first.")
@click.pass_context
def command(
    ctx: click.Context, client: str | None, target: str | None, name: str | None, socket: str | None, form: str | None
) -> None:
    """List the sessions: initiator, address, target, age, what was negotiated, and the work so far."""
    one_server(Source(name, socket))
    ctx.obj = (name, socket)
    if ctx.invoked_subcommand is not None:
        return
    with trace_errors(), Server(name, socket) as server:
        sessions = server.sessions()
    if target is not None:
        sessions = [session for session in sessions if session["target"] == target]
    if client is not None:
        sessions = [
            session
            for session in sessions
            if client == session["initiator"] or client in map(address_of, session["addresses"])
        ]
    report = sessions_report(sessions)
    if form == "json":
        click.echo(json.dumps(sessions))
    elif form == "csv":
        click.echo(as_csv(report.records, header=True))
    else:
        click.echo("\n".join(report.lines))


@command.command()
@click.argument("session", metavar="ID")
@click.pass_obj
def drop(where: tuple[str | None, str | None], session: str) -> None:
    """End the session ID, a name that `sessions` prints first. Only the server's owner may."""
    name, socket = where
    if socket is not None:
        if not socket.endswith(".watch"):
            raise UsageError("--socket is the path of a watch socket: NAME.watch")
        socket = socket.removesuffix(".watch") + ".control"
    with trace_errors(), Server(name, socket, control=True) as server:
        server.drop(session)
    click.echo(f"session {session} was dropped")
