"""``iscsitools sessions``: who is logged in; ``sessions drop``: end a session."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import click

from iscsitools.cli.watching import one_server, trace_errors
from iscsitools.errors import UsageError
from iscsitools.trace.client import Server
from iscsitools.trace.selection import Selection
from iscsitools.trace.views.report import as_csv
from iscsitools.trace.views.sessions import sessions_report
from iscsitools.trace.views.watch import Source


@click.group(invoke_without_command=True)
@click.option("--client", metavar="ADDRESS", help="Only of this client: its address, ADDRESS:PORT, or initiator name.")
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
    wanted = Selection(client=client, target=target)
    sessions = [session for session in sessions if any(map(wanted.admits, _connections(session)))]
    report = sessions_report(sessions)
    if form == "json":
        click.echo(json.dumps(sessions))
    elif form == "csv":
        click.echo(as_csv(report.records, header=True), nl=bool(sessions))
    else:
        click.echo("\n".join(report.lines))


class _Connection(NamedTuple):
    """By what a session is selected."""

    remote: str
    target: str
    initiator: str


def _connections(session: dict[str, Any]) -> list[_Connection]:
    """Its connections, of which it may have none left."""
    addresses = session["addresses"] or [""]
    return [_Connection(address, session["target"], session["initiator"]) for address in addresses]


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
