"""Commands that have commands: how their help lists those."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import click

_WHOLE = 1000
"""Click cuts the line of a command at so many characters; it folds a longer one than the terminal's by itself."""


def help_line(command: click.Command) -> str:
    """The first sentence of a command's help, all of it."""
    return command.get_short_help_str(_WHOLE)


def write_sections(formatter: click.HelpFormatter, sections: Mapping[str, Iterable[tuple[str, str]]]) -> None:
    """Write names and lines under headings, in columns that are the same in each section."""
    written = {heading: list(rows) for heading, rows in sections.items()}
    widest = max((len(name) for rows in written.values() for name, _ in rows), default=0)
    for heading, rows in written.items():
        if rows:
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(widest), line) for name, line in rows])


class CommandGroup(click.Group):
    """A group of which the help has whole sentences."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        write_sections(
            formatter, {"Commands": [(name, help_line(command)) for name, command in found if command is not None]}
        )
