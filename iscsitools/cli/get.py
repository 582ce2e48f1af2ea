"""``iscsitools get``: the configuration of a running server."""

from __future__ import annotations

from typing import Any

import click

from iscsitools.cli.changing import connect
from iscsitools.cli.options import SERVER
from iscsitools.cli.output import echo_json
from iscsitools.config.document import toml_text


@click.command()
@click.option(
    "-o", "--output", type=click.Choice(["toml", "json"]), default="toml", show_default=True, help="The form."
)
@SERVER
def command(output: str, **options: Any) -> None:
    """Print the configuration of a running server, as it is after all changes.

    `iscsitools apply` of it changes nothing. Secrets that were given in a file or in the environment stay there; one
    that was given in the configuration itself is printed.
    """
    with connect(options) as control:
        running = control.get()
    if output == "json":
        echo_json({"generation": running.generation, "document": running.document})
    else:
        click.echo(toml_text(running.document), nl=False)
