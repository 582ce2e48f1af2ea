"""What a shell completes: the names of running servers, and what the chosen one serves.

A server that cannot be asked completes nothing, and never prints an error into a line that somebody types.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class, split_arg_string

from iscsitools.errors import UserError
from iscsitools.trace import names
from iscsitools.trace.protocol import TraceError

Tree = dict[str, Any]


def _served(ctx: click.Context) -> Tree:
    """What the server that the command line chooses says of itself; ``targets`` is empty when there is none."""
    # Only a shell that completes pays for these.
    from iscsitools.control import Control
    from iscsitools.control.client import control_path

    chosen: dict[str, Any] = {}
    within: click.Context | None = ctx
    while within is not None:
        chosen = {key: value for key, value in within.params.items() if value} | chosen
        within = within.parent
    name, socket = chosen.get("name") or os.environ.get("ISCSITOOLS_NAME"), chosen.get("socket")
    with (
        suppress(UserError, TraceError, OSError, ValueError),
        Control(name, control_path(socket) if socket else None) as control,
    ):
        return control.tree()
    return {"targets": []}


def _beginning(choices: Iterator[tuple[str, str | None]], typed: str) -> list[CompletionItem[str]]:
    return [CompletionItem(value, help=said) for value, said in choices if value.startswith(typed)]


def servers(ctx: click.Context, param: click.Parameter, typed: str) -> list[CompletionItem[str]]:
    """The names of the running servers."""
    with suppress(TraceError, OSError):
        return _beginning(((entry.name, None) for entry in names.servers()), typed)
    return []


def targets(ctx: click.Context, param: click.Parameter, typed: str) -> list[CompletionItem[str]]:
    """The names of the targets."""
    return _beginning(((target["iqn"], None) for target in _served(ctx)["targets"]), typed)


def luns(ctx: click.Context, param: click.Parameter, typed: str) -> list[CompletionItem[str]]:
    """The LUNs of the target that is named already, or of all, each with its store."""
    iqn = ctx.params.get("iqn") or ctx.params.get("target")
    chosen = [target for target in _served(ctx)["targets"] if iqn in (None, target["iqn"])]
    found = {str(lun["lun"]): lun["store"] if len(chosen) == 1 else None for each in chosen for lun in each["luns"]}
    return _beginning(iter(found.items()), typed)


def clients(ctx: click.Context, param: click.Parameter, typed: str) -> list[CompletionItem[str]]:
    """The names of the initiators that are logged in."""
    sessions = [session for target in _served(ctx)["targets"] for session in target["sessions"]]
    return _beginning(iter(dict.fromkeys((each["initiator"], None) for each in sessions)), typed)


def sessions(ctx: click.Context, param: click.Parameter, typed: str) -> list[CompletionItem[str]]:
    """The sessions' numbers, each with its initiator."""
    found = [session for target in _served(ctx)["targets"] for session in target["sessions"]]
    return _beginning(((str(each["id"]), each["initiator"]) for each in found), typed)


IQN: Final = click.argument("iqn", shell_complete=targets)
"""The name of a target that is there."""


class Bash(BashComplete):
    """Completion for bash, which takes a colon for the end of a word, as the names of targets have them.

    The whole line is split here, and of a completed word that part is given back that bash replaces.
    """

    source_template = """\
%(complete_func)s() {
    local IFS=$'\\n' line
    COMPREPLY=()
    for line in $(env COMP_WORDS="${COMP_LINE:0:COMP_POINT}" COMP_BREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1"); do
        case $line in
            plain,*) COMPREPLY+=("${line#plain,}") ;;
            dir,*) compopt -o dirnames ;;
            file,*) compopt -o default ;;
        esac
    done
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one that is typed, and that one."""
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)[1:]
        return (words, "") if not words or line[-1].isspace() else (words[:-1], words[-1])

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """See click. What stands before a word's last colon is on the line already, for bash another word."""
        typed = self.get_completion_args()[1]
        last = max((typed.rfind(mark) for mark in ":=" if mark in os.environ.get("COMP_BREAKS", "")), default=-1)
        return f"{item.type},{str(item.value).removeprefix(typed[: last + 1])}"


def complete(cli: click.Command, program: str) -> None:
    """Answer the shell that asks by an environment variable, or print the shell's own part, and exit."""
    add_completion_class(Bash)
    with suppress(UserError):
        cli.main(prog_name=program)
