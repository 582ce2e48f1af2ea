"""The generated part of a command's manual page, ``docs/man/iscsitools-NAME.1.md``: what its own ``--help`` says."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import Final

import click

from iscsitools.cli.main import COMMANDS, SECTIONS

_BLOCK: Final = re.compile(r"(<!-- begin command ([\w-]+) -->\n).*?(<!-- end command -->)", re.DOTALL)
_WIDTH: Final = 120
_CODE: Final = re.compile(r"(`[^`]*`)|(?<!\w)(--?[A-Za-z][\w-]*|\w*\*[\w:*]*)")


def new_page(name: str) -> str:
    """A page of its least size, to be gone on with by hand."""
    about = COMMANDS[name][:1].lower() + COMMANDS[name][1:].rstrip(".")
    head = f"# iscsitools-{name}(1)\n\n## NAME\n\niscsitools-{name} - {about}\n"
    return f"{head}\n<!-- begin command {name} -->\n<!-- end command -->\n\n## SEE ALSO\n\niscsitools(1)\n"


def command_page(page: str, commands: dict[str, click.Command]) -> str:
    """The page with its generated part made anew. ``commands``: by name; KeyError for one that is not there."""
    return _BLOCK.sub(lambda match: f"{match[1]}\n{_parts(match[2], commands)}\n{match[3]}", page)


def _parts(name: str, commands: dict[str, click.Command]) -> str:
    command = commands[name]
    path = "iscsitools" if name == "iscsitools" else f"iscsitools {name}"
    inner = sorted(command.commands.items()) if isinstance(command, click.Group) and name != "iscsitools" else []
    everything = [(path, command), *((f"{path} {word}", found) for word, found in inner)]
    usage = "\n".join(_usage(words, found) for words, found in everything if not (inner and found is command))
    parts = ["## SYNOPSIS", f"```\n{usage}\n```", "## DESCRIPTION", *_paragraphs(command.help or "")]
    if inner:
        parts.append("## COMMANDS")
        for words, found in everything[1:]:
            parts += [f"### {words}", *_paragraphs(found.help or ""), *_options(words, found)]
    else:
        parts += ["## OPTIONS", *_options(path, command)]
    if command is commands["iscsitools"]:
        parts += ["## COMMANDS", *_commands(commands)]
    return "\n\n".join(parts) + "\n"


def _commands(commands: dict[str, click.Command]) -> Iterator[str]:
    for heading, section in SECTIONS.items():
        yield f"### {heading}"
        yield "\n".join(f"- `iscsitools-{name}(1)`: {line}" for name, line in section.items() if name in commands)


def help_names(command: click.Command) -> list[str]:
    """The options that show a command's help: both, but where -h is another program's."""
    names: list[str] = command.context_settings.get("help_option_names", ["-h", "--help"])
    return names


def _context(path: str, command: click.Command) -> click.Context:
    return click.Context(command, info_name=path, help_option_names=help_names(command))


def _usage(path: str, command: click.Command) -> str:
    with _context(path, command) as ctx:
        return " ".join([path, *command.collect_usage_pieces(ctx)])


def _options(path: str, command: click.Command) -> Iterator[str]:
    with _context(path, command) as ctx:
        records = [parameter.get_help_record(ctx) for parameter in command.get_params(ctx)]
    lines = [_wrapped(f"- `{names}`: {_marked(text)}", "  ") for names, text in filter(None, records) if text]
    yield "\n".join(lines)


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in textwrap.dedent(text).strip().split("\n\n"):
        yield _wrapped(_marked(" ".join(paragraph.replace("\b", "").split())))


def _marked(text: str) -> str:
    """Options, and words with a star in them, as code: the rest of Markdown has no meaning for help texts."""
    return _CODE.sub(lambda match: match[1] or f"`{match[2]}`", text)


def _wrapped(text: str, more: str = "") -> str:
    return textwrap.fill(text, _WIDTH, subsequent_indent=more, break_long_words=False, break_on_hyphens=False)
