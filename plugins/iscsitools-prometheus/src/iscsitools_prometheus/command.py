"""``iscsitools prometheus``: the alert rules and dashboards that come with the plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

FILES: Final = Path(__file__).resolve().parent / "files"


@click.command("prometheus")
@click.argument("file", type=click.Choice(sorted(path.name for path in FILES.iterdir())))
def command(file: str) -> None:
    """Print an alert rules file for Prometheus, or a dashboard for Grafana."""
    click.echo((FILES / file).read_text(), nl=False)
