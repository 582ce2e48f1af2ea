"""``iscsitools config``: checking configuration files, and an example of one."""

from __future__ import annotations

import click

from iscsitools.cli.groups import CommandGroup
from iscsitools.config import load_config
from iscsitools.config.example import example
from iscsitools.plugins import PluginManager


@click.group(cls=CommandGroup)
def command() -> None:
    """Check a configuration file, or print an example."""


@command.command()
@click.argument("file", type=click.Path())
def check(file: str) -> None:
    """Say what is wrong with FILE, each problem by line and key.

    Exit status 0: nothing; 2: something. Nothing is opened or made. Unwise settings are warnings.
    """
    plugins = PluginManager()
    plugins.load()
    config, warnings = load_config(file, plugins.registry, plugins.authenticators)
    for warning in warnings:
        click.echo(f"iscsitools: warning: {warning}", err=True)
    luns = sum(len(target.luns) for target in config.targets)
    click.echo(f"{file}: no error; {len(config.targets)} target(s), {luns} LUN(s)")


@command.command("example")
def print_example() -> None:
    """Print a commented configuration file with every key and its default."""
    click.echo(example(), nl=False)
