"""``iscsitools probes``: the provider's probes, the tracers that can see them, and which are enabled."""

from __future__ import annotations

from typing import Any

import click

from iscsitools.cli.options import SERVER, take_source
from iscsitools.cli.output import echo_json, echo_table, echo_wrapped_table, json_option
from iscsitools.errors import RunError
from iscsitools.probes.table import BY_LABEL, PROVIDER_PROBES
from iscsitools.provider.backend import attach_path, survey
from iscsitools.provider.dof import PROVIDER, arguments_of
from iscsitools.provider.errors import ProviderError
from iscsitools.trace.client.attach import WatchedServer
from iscsitools.trace.protocol import TraceError


def enabled_in_server(name: str | None, socket: str | None) -> int | None:
    """Which probes are enabled in a running server, one bit each; None: none runs, or several and none was named.

    Raises RunError when the server that was named cannot be asked.
    """
    try:
        with WatchedServer(name, socket) as server:
            return sum(1 << BY_LABEL[label] for label in server.probes())
    except TraceError as error:
        if name or socket:
            raise RunError(str(error)) from None
        return None


def _path() -> str:
    """The file to attach to, or RunError with the reason."""
    try:
        return str(attach_path())
    except ProviderError as error:
        raise RunError(f"no file to attach to: {error}") from error


def report(mask: int | None) -> dict[str, Any]:
    """All that the command says, as its JSON. ``mask``: the enabled probes, None when they are not known."""
    backends = survey()
    sdt = any(found.name == "sdt" and found.available for found in backends)
    return {
        "provider": PROVIDER,
        "path": str(attach_path()) if sdt else None,
        "backends": [{"name": f.name, "available": f.available, "reason": f.reason} for f in backends],
        "probes": [
            {
                "name": probe.label,
                "sdt": probe.name.lower(),
                "arguments": list(arguments_of(probe).translated),
                "enabled": None if mask is None else bool(mask >> probe & 1),
            }
            for probe in PROVIDER_PROBES
        ],
    }


def _echo(found: dict[str, Any]) -> None:
    words = {None: "-", True: "yes", False: "no"}
    echo_table(
        ("PROBE", "ENABLED", "ARGUMENTS"),
        [(p["name"], words[p["enabled"]], ", ".join(p["arguments"])) for p in found["probes"]],
    )
    click.echo()
    rows = [(b["name"], words[b["available"]], b["reason"] or "-") for b in found["backends"]]
    echo_wrapped_table(("BACKEND", "FOUND", "WHY NOT"), rows)
    if found["path"]:
        click.echo(f"\nbpftrace, perf and SystemTap attach to {found['path']}")


@click.command()
@click.option("--path", "only_path", is_flag=True, help="Print only the file that bpftrace and perf attach to.")
@SERVER
@json_option
def command(only_path: bool, name: str | None, socket: str | None, as_json: bool) -> None:
    """List the probes and who can see them.

    A probe is ENABLED while a tracer or one of the watching commands uses it; "-" means that no server was asked. A
    backend that is not FOUND does not stop the target.
    """
    if only_path:
        click.echo(_path())
        return
    asked = take_source({"name": name, "socket": socket})
    found = report(enabled_in_server(asked.name, asked.socket))
    if as_json:
        echo_json(found)
    else:
        _echo(found)
