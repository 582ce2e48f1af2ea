"""``iscsitools dtrace``: the D scripts and the D library that they need."""

from __future__ import annotations

import os
import sys
import tempfile

import click

from iscsitools.cli.output import echo_json, echo_table, json_option
from iscsitools.dtrace import library
from iscsitools.dtrace.system import find_dtrace, this_system
from iscsitools.dtrace.variants import DSCRIPTS
from iscsitools.errors import RunError, UsageError


@click.group()
def command() -> None:
    """Run and install the D scripts.

    The probes have typed arguments (args[0]->ci_remote) by the D library, which dtrace reads from its own library
    directory or from the one that -L names.
    """


@command.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--pid", type=click.IntRange(min=1), help="Watch only the target of this process id.")
@click.argument("name")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(pid: int | None, name: str, arguments: tuple[str, ...]) -> None:
    """Run a D script with the D library of this system.

    NAME is one of `iscsitools dtrace list`, or the path of a script of your own. ARGUMENTS are the script's. While
    several targets run, DTrace for Linux needs --pid, which puts iscsiPID: in the place of iscsi*: in the script.
    """
    script = library.script_file(name)
    dtrace = find_dtrace()
    words = library.command_line(dtrace, this_system(), str(script) if pid is None else "/dev/stdin", arguments)
    if pid is not None:
        _give_as_input(library.for_process(script.read_text(), pid))
    sys.stdout.flush()
    try:
        os.execv(dtrace, words)  # Ctrl-C is then dtrace's own
    except OSError as error:
        raise RunError(f"{dtrace}: {error.strerror}") from None


def _give_as_input(text: str) -> None:
    """Put a text where the program that takes this one's place reads its standard input."""
    with tempfile.TemporaryFile() as file:
        file.write(text.encode())
        file.seek(0)
        os.dup2(file.fileno(), 0)


@command.command("list")
@json_option
def list_scripts(as_json: bool) -> None:
    """List the D scripts and where they are."""
    found = library.scripts()
    if as_json:
        echo_json([{"name": name, "summary": about, "file": str(file)} for name, (file, about) in found.items()])
        return
    echo_table(("SCRIPT", "WHAT IT DOES"), [(name, about) for name, (_, about) in found.items()])
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
