"""``iscsitools dtrace``: the D scripts and the D library that they need."""

from __future__ import annotations

import os
import sys
import tempfile

import click

from iscsitools.cli import complete
from iscsitools.cli.groups import CommandGroup
from iscsitools.cli.output import echo_json, echo_wrapped_table, json_option
from iscsitools.dtrace import library
from iscsitools.dtrace.arguments import parse
from iscsitools.dtrace.running import command_line, programs
from iscsitools.dtrace.system import find_dtrace, this_system
from iscsitools.dtrace.variants import DSCRIPTS
from iscsitools.errors import RunError, UsageError
from iscsitools.trace.client.attach import WatchedServer
from iscsitools.trace.protocol import TraceError


class _WithDtraceOptions(click.Command):
    """Keeps apart what stands after ``--``: it is no option of dtrace either."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        at = args.index("--") if "--" in args else len(args)
        ctx.meta["rest"] = args[at + 1 :]
        return super().parse_args(ctx, args[:at])


@click.group(cls=CommandGroup)
def command() -> None:
    """Run and install the D scripts.

    The probes have typed arguments (args[0]->ci_remote) by the D library, which dtrace reads from its own library
    directory or from the one that -L names.
    """


@command.command(
    cls=_WithDtraceOptions, context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]}
)
@click.option("--name", shell_complete=complete.servers, help="Watch only the server of this name; sets $target.")
@click.option("--pid", type=click.IntRange(min=1), help="Watch only the target of this process id; sets $target.")
@click.option("--show", is_flag=True, help="Print what would be run, as it was made for this system.")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[SCRIPT] [DTRACE OPTIONS] [ARGUMENTS]")
@click.pass_context
def run(ctx: click.Context, name: str | None, pid: int | None, show: bool, words: tuple[str, ...]) -> None:
    """Run a D script with the D library of this system.

    SCRIPT is one of `iscsitools dtrace list`, a file, or - for standard input; -n CLAUSES take its place or come
    behind it. Options of dtrace (-q, -o FILE, -x OPTION, -c COMMAND) may stand anywhere. ARGUMENTS are the script's;
    those that begin with a dash stand after --.

    Scripts that were written for other targets run as they are: iscsi::: becomes iscsi*:::, and where DTrace for
    Linux needs the names of probes they are written out. --name and --pid put that process's provider there; while
    several targets run, DTrace for Linux needs one of them. A script that reads arguments of COMSTAR's own (arg1,
    arg8) is refused, with the member to read.
    """
    if name is not None and pid is not None:
        raise UsageError("--name and --pid both say which target")
    asked = parse(words, ctx.meta["rest"])
    system = this_system()
    process = _process_of(name) if name is not None else pid
    if process is None and asked.values("p"):
        process = int(asked.values("p")[-1]) if asked.values("p")[-1].isdecimal() else None
    found = programs(asked, system, process)
    if show:
        click.echo("\n".join(program.made.rstrip("\n") for program in found))
        return
    dtrace = find_dtrace()
    call = command_line(dtrace, system, asked, found)
    for program in found:
        if program.by_input:
            _give_as_input(program.made)
    sys.stdout.flush()
    try:
        os.execv(dtrace, call)  # Ctrl-C is then dtrace's own
    except OSError as error:
        raise RunError(f"{dtrace}: {error.strerror}") from None


def _process_of(name: str) -> int:
    """The process id of a server by its name; RunError when there is none."""
    try:
        with WatchedServer(name) as server:
            return int(server.server["pid"])
    except TraceError as error:
        raise RunError(str(error)) from None


def _give_as_input(text: str) -> None:
    """Put a text where the program that takes this one's place reads its standard input."""
    with tempfile.TemporaryFile() as file:
        file.write(text.encode(errors="surrogateescape"))
        file.seek(0)
        os.dup2(file.fileno(), 0)


@command.command()
def path() -> None:
    """Print the folder of this system's D library, for dtrace -L.

    As in: dtrace -L $(iscsitools dtrace path) -s SCRIPT
    """
    click.echo(this_system().variant.folder)


@command.command("list")
@json_option
def list_scripts(as_json: bool) -> None:
    """List the D scripts and where they are."""
    found = library.scripts()
    if as_json:
        echo_json([{"name": name, "summary": about, "file": str(file)} for name, (file, about) in found.items()])
        return
    echo_wrapped_table(("SCRIPT", "WHAT IT DOES"), [(name, about) for name, (_, about) in found.items()])
    click.echo(f"\nThey are in {DSCRIPTS}")


@command.command()
@click.option("--print", "show", is_flag=True, help="Print the library and install nothing.")
@click.option("--uninstall", is_flag=True, help="Remove the library again.")
def install(show: bool, uninstall: bool) -> None:
    """Put the D library where this system's dtrace looks, so that plain dtrace -s SCRIPT works.

    On illumos the variant depends on whether the module stmf is loaded: install again when that changes. On macOS
    nothing can be installed, and the option for dtrace is printed.
    """
    if show and uninstall:
        raise UsageError("--print and --uninstall cannot be given together")
    system = this_system()
    if show:
        click.echo(system.variant.file.read_text(), nl=False)
        return
    if uninstall:
        click.echo(library.uninstall(system))
        return
    if system.writable:
        find_dtrace()
    click.echo(library.install(system))
