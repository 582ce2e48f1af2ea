"""Writes the pages of the documentation that come from the code: ``python -m iscsitools.cli.reference docs``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from iscsitools.cli.command_page import command_page, help_names, new_page
from iscsitools.cli.main import built_in, cli, load_command
from iscsitools.cli.provider_page import provider_page
from iscsitools.config.example import example, key_tables

_HEAD: Final = """\
# Commands

This page is made from the commands' own `--help` by `make docs`. Every listing has `--json`. Exit status: 0 when all
went well, 1 when something failed while running, 2 when what was asked for makes no sense, 130 after Ctrl-C.
"""

_BLOCK = re.compile(r"(<!-- begin (\w+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)


def commands_page() -> str:
    """``docs/commands.md``: the help of every command."""
    parts = [_HEAD]
    for name, command in [("iscsitools", cli), *_walk()]:
        # The plugins of this machine have no place in the documentation.
        text = _help(name, command) if command is not cli else _main_help()
        parts.append(f"## {name}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def _walk() -> Iterator[tuple[str, click.Command]]:
    for name in built_in():
        command = load_command(name)
        yield f"iscsitools {name}", command
        if isinstance(command, click.Group):
            for inner, subcommand in sorted(command.commands.items()):
                yield f"iscsitools {name} {inner}", subcommand


def _help(name: str, command: click.Command) -> str:
    with click.Context(command, info_name=name, terminal_width=100, max_content_width=100) as ctx:
        ctx.help_option_names = help_names(command)
        return command.get_help(ctx).rstrip()


def _main_help() -> str:
    return _help("iscsitools", _main())


def _main() -> click.Command:
    """The program itself, without the plugins of this machine."""
    group = type(cli)("iscsitools", params=cli.params, help=cli.help)
    group.plugin_commands = {}
    return group


def configuration_page(page: str) -> str:
    """``docs/configuration.md`` with its generated blocks made anew; the text around them stays."""
    blocks = {"keys": key_tables(), "example": f"```toml\n{example()}```\n"}
    return _BLOCK.sub(lambda match: f"{match[1]}\n{blocks[match[2]]}\n{match[3]}", page)


def manual_pages(folder: Path) -> dict[Path, str]:
    """The manual pages' sources with their generated parts made anew, by their path; a command without one gets one."""
    commands = {name: load_command(name) for name in built_in()} | {"iscsitools": _main()}
    pages = {folder / f"iscsitools-{name}.1.md": new_page(name) for name in built_in()}
    pages |= {path: path.read_text() for path in sorted(folder.glob("iscsitools*.1.md"))}
    pages = {path: command_page(text, commands) for path, text in pages.items()}
    provider = folder / "iscsi.4.md"
    return pages | {provider: provider_page(provider.read_text())}


def write_pages(docs: Path) -> None:
    """Write the generated pages into ``docs``."""
    (docs / "commands.md").write_text(commands_page())
    page = docs / "configuration.md"
    page.write_text(configuration_page(page.read_text()))
    for path, text in manual_pages(docs / "man").items():
        path.write_text(text)


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
