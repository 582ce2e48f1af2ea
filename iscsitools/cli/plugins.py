"""``iscsitools plugins``: which plugins there are, what each brought, and why one failed."""

from __future__ import annotations

from collections.abc import Sequence

import click

from iscsitools.cli.backstores import describe_option
from iscsitools.cli.main import COMMANDS
from iscsitools.cli.output import NO_BREAK, echo_json, echo_wrapped_table, json_option
from iscsitools.plugins import PluginManager


@click.command()
@json_option
def command(as_json: bool) -> None:
    """List the plugins.

    A plugin is a distribution with an entry point of group "iscsitools". One that failed is listed with the reason. The
    options of plugins are given as `serve --plugin NAME,OPTION=VALUE` or under [plugin.NAME] of a file.
    """
    manager = PluginManager()
    manager.load()
    manager.add_commands(click.Group(commands={name: click.Command(name) for name in COMMANDS}))
    options = {
        name: [describe_option(option) for option in found] for name, found in manager.registry.plugin_options.items()
    }
    if as_json:
        echo_json([{**plugin.as_dict(), "options": options.get(plugin.name, [])} for plugin in manager.plugins])
        return
    rows = [
        (p.name, f"{p.distribution or '-'} {p.version or '-'}", p.status, _provides(p.provides, p.error))
        for p in manager.plugins
    ]
    echo_wrapped_table(("PLUGIN", "DISTRIBUTION", "STATUS", "PROVIDES"), rows)
    if options:
        click.echo()
        lines = [
            (name, f"{option['name']}={option['value']}", option["default"], option["help"])
            for name in sorted(options)
            for option in options[name]
        ]
        echo_wrapped_table(("PLUGIN", "OPTION", "DEFAULT", "WHAT IT IS"), lines)


def _provides(provides: Sequence[str], error: str) -> str:
    """What a plugin brought, each kept in one line, and why it failed."""
    return ", ".join([*(text.replace(" ", NO_BREAK) for text in provides), *filter(None, [error])])
