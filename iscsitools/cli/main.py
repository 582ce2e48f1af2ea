"""The ``iscsitools`` command: finds the others by name, and turns errors into one line and an exit status."""

from __future__ import annotations

import errno
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, Final, NoReturn

import click

from iscsitools import __version__
from iscsitools.cli.groups import help_line, write_sections
from iscsitools.errors import RunError, UserError

SECTIONS: Final = {
    "Serve": {
        "serve": "Serve disks over iSCSI.",
        "config": "Check a configuration file, or print an example.",
    },
    "See what is served": {
        "ls": "Show what is served: a tree of targets, LUNs, users and sessions.",
        "status": "Say whether all is well with a server, and which limit bites since when.",
        "sessions": "List the sessions.",
    },
    "Watch the load": {
        "top": "Show who loads the target, live.",
        "io": "Report reads and writes by client, as the script iscsiio does.",
        "rwlat": "Report the latency of reads and writes by client, as the script iscsirwlat does.",
        "cmds": "Count SCSI commands by name, with their bytes, latencies and failures.",
        "size": "Report the sizes of requests by client, unit and operation, in bytes.",
        "seek": "Report how far from the end of the one before it each request begins, in blocks.",
        "queue": "Report how many commands initiators have under way when they send one.",
        "who": "Count events by client and probe, as the script iscsiwho does.",
        "snoop": "Print one line per event, as it happens.",
        "record": "Write all events to a file.",
    },
    "Change a server that runs": {
        "apply": "Make a running server match a file.",
        "get": "Print the configuration of a running server.",
        "target": "Add and remove targets while a server runs.",
        "lun": "Add, remove, resize and move LUNs while a server runs.",
        "user": "Add, change and remove CHAP users while a server runs.",
        "acl": "Change which initiators a target lets in while a server runs.",
        "map": "Change which LUNs initiators see, and by which numbers, while a server runs.",
        "alua": "Show access states of portal groups, and change them while a server runs.",
        "portal": "Listen at other addresses while a server runs.",
        "limit": "Change limits while a server runs.",
        "fault": "Make disks slow or faulty while they are served, and cut their power.",
    },
    "Disks and plugins": {
        "backstores": "List the backstores and filters with their options.",
        "cow": "Look at the overlays of the cow filter, and end them.",
        "plugins": "List the plugins.",
        "new-plugin": "Write a new plugin, with tests.",
    },
    "Tracers of the system": {
        "probes": "List the probes and who can see them.",
        "dtrace": "Run and install the D scripts.",
    },
}
"""The commands under the headings of the program's help: how each one's own help begins, by name."""

COMMANDS: Final = {name: line for section in SECTIONS.values() for name, line in section.items()}
"""All of them, in that order. One is ``command`` of :func:`module_of` its name, imported when it is used."""

REPORT: Final = "this is a bug in iscsitools: please report it with the output of the same command with --debug"

_DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class LazyGroup(click.Group):
    """Imports a command's module when that command is wanted, and plugins only for names that are not built in."""

    plugin_commands: dict[str, click.Command] | None = None
    """What plugins brought; None until somebody asks."""
    running: str = ""
    """The name of the command that runs, if it is a plugin's."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The built-in ones, then the plugins'."""
        return [*built_in(), *sorted(self._from_plugins())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command; one that cannot be imported is a RunError that says what is missing."""
        if cmd_name in built_in():
            return load_command(cmd_name)
        return self._from_plugins().get(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does; remembers whose command it is, for the message when that raises."""
        if not (ctx.resilient_parsing or args[0].startswith("-") or self.get_command(ctx, args[0])):
            near = get_close_matches(args[0], self.list_commands(ctx), 1)
            ctx.fail(f"No such command {args[0]!r}." + "".join(f" Did you mean {name!r}?" for name in near))
        name, command, rest = super().resolve_command(ctx, args)
        self.running = "" if name is None or name in COMMANDS else name
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing their modules."""
        there = set(built_in())
        sections = {
            heading: [(name, line) for name, line in section.items() if name in there]
            for heading, section in SECTIONS.items()
        }
        plugins = self._from_plugins()
        sections["Commands of plugins"] = [(name, help_line(plugins[name])) for name in sorted(plugins)]
        write_sections(formatter, sections)

    def _from_plugins(self) -> dict[str, click.Command]:
        if self.plugin_commands is None:
            from iscsitools.plugins import PluginManager

            manager = PluginManager()
            manager.load()
            taken = click.Group(commands={name: click.Command(name) for name in COMMANDS})
            manager.add_commands(taken)
            self.plugin_commands = {n: c for n, c in taken.commands.items() if n not in COMMANDS}
        return self.plugin_commands


def module_of(name: str) -> str:
    """The module of a command: named as it is, with ``_`` for ``-``."""
    return f"iscsitools.cli.{name.replace('-', '_')}"


def built_in() -> list[str]:
    """The names of the commands whose modules are installed; a packager may leave some out."""
    return [name for name in COMMANDS if importlib.util.find_spec(module_of(name)) is not None]


def load_command(name: str) -> click.Command:
    """Import a built-in command; raises RunError when a library that it needs is not there."""
    try:
        module = importlib.import_module(module_of(name))
    except ImportError as error:
        raise RunError(f"the command {name} cannot be loaded: {error}") from error
    command = module.command
    assert isinstance(command, click.Command)
    return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="iscsitools", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error that nobody expected.")
def cli(debug: bool) -> None:
    """An iSCSI target that anyone can see into.

    `iscsitools serve` starts one; the other commands look at it, watch its load, and change it while it runs.
    """


def run(arguments: Sequence[str]) -> int:
    """Run a command line (without the program's name); returns the exit status and never raises."""
    debug = "--debug" in arguments
    _open_standard_streams()
    try:
        status = _guarded(lambda: _invoke(list(arguments) or ["--help"]), debug)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output has left, as `| head` does.
        _let_go_of_output()
        return 128 + 13
    except OSError as error:
        return _full(error)
    return status


def _open_standard_streams() -> None:
    """Give a process that was started without standard streams some that lead nowhere.

    A supervisor or cron may close them. Python has None in their place then, and the next file or socket that is opened
    would get their descriptor, and what is printed.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            if not _is_open(number):
                os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _let_go_of_output() -> None:
    """Python would complain of what is left in the buffer when it flushes that at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _full(error: OSError) -> int:
    """The file that standard output goes to takes no more."""
    _let_go_of_output()
    return _complain([f"standard output: {error.strerror}"], 1)


def _invoke(arguments: list[str]) -> Any:
    """What ``cli.main`` does, without its own ideas of what to print at Ctrl-C and into a closed pipe."""
    try:
        with cli.make_context("iscsitools", arguments) as ctx:
            return cli.invoke(ctx)
    except click.exceptions.Exit as end:
        return end.exit_code


def _guarded(command: Callable[[], Any], debug: bool) -> int:
    try:
        status = command()
        return status if isinstance(status, int) else 0
    except UserError as error:
        return _complain(error.lines, error.exit_status)
    except click.exceptions.NoArgsIsHelpError as error:
        path = error.ctx.command_path if error.ctx else "iscsitools"
        return _complain([f"a command is missing (see {path} --help)"], 2)
    except click.UsageError as error:
        hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        return _complain([error.format_message() + hint], 2)
    except click.ClickException as error:
        return _complain([error.format_message()], error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return 128 + 2
    except (BrokenPipeError, SystemExit):
        raise
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None and error.errno in _DISK_FULL:
            return _full(error)
        if debug:
            traceback.print_exc()
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        blame = f"this is a bug in the plugin that brings the command {cli.running!r}" if cli.running else REPORT
        return _complain([f"{text}; {blame}"], 1)


def _complain(lines: Sequence[str], status: int) -> int:
    for line in lines:
        click.echo(f"iscsitools: {' '.join(part.strip() for part in line.splitlines())}", err=True)
    return status


def main() -> NoReturn:
    """Run this process's command line, or complete one for a shell: the console script."""
    if "_ISCSITOOLS_COMPLETE" in os.environ:
        from iscsitools.cli.complete import complete

        complete(cli, "iscsitools")
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
