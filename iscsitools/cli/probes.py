"""``iscsitools probes``: the provider's probes, the tracers that can see them, and which are enabled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from iscsitools.cli.output import echo_json, echo_table, json_option
from iscsitools.errors import RunError
from iscsitools.probes.table import PROVIDER_PROBES
from iscsitools.provider.backend import attach_path, survey
from iscsitools.provider.dof import PROVIDER, arguments_of
from iscsitools.provider.errors import ProviderError

ServerMask = Callable[[], int | None]
"""Asks the running server which probes tracers have enabled, one bit each; None: no server runs, or it cannot say."""


def _nobody() -> None:
    return None


def _path() -> str:
    """The file to attach to, or RunError with the reason."""
    try:
        return str(attach_path())
    except ProviderError as error:
        raise RunError(f"no file to attach to: {error}") from error


def report(server_mask: ServerMask) -> dict[str, Any]:
    """All that the command says, as its JSON: ``enabled`` is null when it is not known."""
    mask = server_mask()
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
    echo_table(("BACKEND", "FOUND", "WHY NOT"), rows)
    if found["path"]:
        click.echo(f"\nbpftrace, perf and SystemTap attach to {found['path']}")


def make_command(server_mask: ServerMask = _nobody) -> click.Command:
    """The command; ``server_mask`` asks the running server."""

    @click.command()
    @click.option("--path", "only_path", is_flag=True, help="Print only the file that bpftrace and perf attach to.")
    @json_option
    def probes(only_path: bool, as_json: bool) -> None:
        """List the probes and who can see them.

        A probe is ENABLED while a tracer uses it; "-" means that no server was asked. A backend that is not FOUND does
        not stop the target.
        """
        if only_path:
            click.echo(_path())
        elif as_json:
            echo_json(report(server_mask))
        else:
            _echo(report(server_mask))

    return probes


command = make_command()
