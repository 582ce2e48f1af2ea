"""The main group: lazy commands, plugins' commands, and errors as one line with the right exit status."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import click
import pytest

from iscsitools import __version__
from iscsitools.cli import main
from iscsitools.cli.main import COMMANDS, built_in, load_command
from iscsitools.errors import RunError, UsageError
from iscsitools.plugins import PluginManager


def process(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "iscsitools.cli.main", *arguments], text=True, timeout=60, **options)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make ``iscsitools plugins`` raise what the test says."""

    def fail_with(error: BaseException) -> None:
        def callback() -> None:
            raise error

        monkeypatch.setattr(main, "load_command", lambda name: click.Command(name, callback=callback))

    return fail_with


def test_version_and_help(iscsitools: Any) -> None:
    assert iscsitools("--version").out == f"iscsitools {__version__}\n"
    for arguments in ((), ("--help",), ("-h",)):
        result = iscsitools(*arguments)
        assert (result.status, result.err) == (0, "")
        for name in built_in():
            assert f"  {name} " in result.out


@pytest.mark.parametrize("name", built_in())
def test_the_listed_help_is_the_commands_own(name: str) -> None:
    assert " ".join((load_command(name).help or "").split()).startswith(COMMANDS[name].removesuffix("."))
    assert len(COMMANDS[name]) <= 85


def test_help_cuts_no_sentence() -> None:
    """Click would end the lines of commands that do not fit with three points."""
    for group in (name for name in built_in() if isinstance(load_command(name), click.Group)):
        options = {"info_name": group, "terminal_width": 60, "help_option_names": ["-h", "--help"]}
        with click.Context(load_command(group), **options) as ctx:
            assert "..." not in ctx.get_help().partition("Commands:")[2]


def test_every_command_stands_in_one_section(iscsitools: Any) -> None:
    text = iscsitools("--help").out
    places = [text.index(f"\n{heading}:\n") for heading in main.SECTIONS]
    assert places == sorted(places)
    for name in built_in():
        assert len(re.findall(rf"^  {name} ", text, re.MULTILINE)) == 1


def test_help_imports_no_command() -> None:
    code = (
        "import sys; from iscsitools.cli.main import run, COMMANDS; status = run(['--help']);"
        "sys.exit(status or [n for n in COMMANDS if f'iscsitools.cli.{n}' in sys.modules] or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("nonsense",), "No such command 'nonsense'. (see iscsitools --help)"),
        (("serv",), "No such command 'serv'. Did you mean 'serve'? (see iscsitools --help)"),
        (("lun", "ad"), "No such command 'ad'. Did you mean 'add'? (see iscsitools lun --help)"),
        (("top", "0"), "'0' is no number of seconds from 0.001 to 1000000000"),
        (("top", "soon"), "'soon' is no number of seconds from 0.001 to 1000000000"),
        (("top", "nan"), "'nan' is no number of seconds"),
        (("top", "1", "0"), "'0' is no number of reports: 1 and more"),
        (("snoop", "--slower", "-1"), "'-1' is no number of milliseconds from 0 to 1000000000"),
        (("plugins", "--nonsense"), "No such option"),
        (("plugins", "more"), "unexpected extra argument"),
        (("config", "check"), "Missing argument 'FILE'."),
        (("serve", "--log-level", "loud"), "Invalid value for '--log-level'"),
        (("config",), "a command is missing"),
        (("dtrace",), "a command is missing"),
    ],
)
def test_usage_errors(iscsitools: Any, arguments: tuple[str, ...], line: str) -> None:
    result = iscsitools(*arguments)
    assert (result.status, result.out, result.err.count("\n")) == (2, "", 1)
    assert result.err.startswith("iscsitools: ")
    assert line in result.err
    assert " --help)" in result.err


@pytest.mark.parametrize(
    ("error", "status", "err"),
    [
        (UsageError("a", ["b\nc"]), 2, "iscsitools: a\niscsitools: b c\n"),
        (RunError("port in use"), 1, "iscsitools: port in use\n"),
        (click.FileError("x", "why"), 1, "iscsitools: Could not open file 'x': why\n"),
        (KeyboardInterrupt(), 130, ""),
        (click.Abort(), 130, ""),
    ],
)
def test_expected_errors(iscsitools: Any, failing: Any, error: BaseException, status: int, err: str) -> None:
    failing(error)
    result = iscsitools("plugins")
    assert (result.status, result.out, result.err) == (status, "", err)


def test_unexpected_errors(iscsitools: Any, failing: Any) -> None:
    failing(ZeroDivisionError("seven"))
    result = iscsitools("plugins")
    assert result.status == 1
    assert result.err.startswith("iscsitools: ZeroDivisionError: seven; this is a bug in iscsitools: please report")
    assert result.err.count("\n") == 1
    result = iscsitools("--debug", "plugins")
    assert result.status == 1
    assert "Traceback (most recent call last)" in result.err
    assert result.err.splitlines()[-1].startswith("iscsitools: ZeroDivisionError: seven; ")


class Odd(BaseException):
    """Neither an Exception nor one of the interpreter's own."""


@pytest.mark.parametrize("error", [ZeroDivisionError("seven"), Odd("seven")], ids=repr)
def test_unexpected_errors_of_a_plugins_command_are_the_plugins(
    iscsitools: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    @click.command()
    def hello() -> None:
        raise error

    monkeypatch.setattr(main.cli, "plugin_commands", {"hello": hello})
    result = iscsitools("hello")
    assert result.status == 1
    assert result.err == (
        f"iscsitools: {type(error).__name__}: seven; this is a bug in the plugin that brings the command 'hello'\n"
    )
    monkeypatch.setattr(main, "load_command", lambda name: hello)
    assert "; this is a bug in iscsitools: " in iscsitools("plugins").err


def test_a_command_whose_library_is_missing(iscsitools: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def import_module(name: str) -> Any:
        if name == "iscsitools.cli.plugins":
            raise ImportError("No module named 'rarelib'")
        return importlib.import_module(name)

    monkeypatch.setattr(main, "importlib", SimpleNamespace(import_module=import_module, util=importlib.util))
    result = iscsitools("plugins")
    assert result.status == 1
    assert result.err.startswith("iscsitools: the command plugins cannot be loaded: No module named 'rarelib'")
    assert iscsitools("backstores").status == 0


def test_a_command_that_is_not_installed(iscsitools: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(main.COMMANDS, "absent", "Nothing.")
    monkeypatch.setitem(main.SECTIONS["Serve"], "absent", "Nothing.")
    assert "absent" not in iscsitools("--help").out
    assert iscsitools("absent").status == 2


def test_commands_of_plugins(iscsitools: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def hello() -> int:
        """Say hello."""
        click.echo("hello")
        return 3

    def load(manager: PluginManager) -> None:
        manager.commands = {"hello": hello, "serve": hello}

    monkeypatch.setattr(PluginManager, "load", load)
    monkeypatch.setattr(PluginManager, "add_commands", lambda manager, group: group.add_command(hello, "hello"))
    monkeypatch.setattr(main.cli, "plugin_commands", None)
    text = iscsitools("--help").out
    assert re.search(r"^Commands of plugins:\n  hello +Say hello\.$", text, re.MULTILINE)
    result = iscsitools("hello")
    assert (result.status, result.out) == (3, "hello\n")


def test_output_into_a_pipe_that_nobody_reads() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        result = process("config", "example", stdout=writing, stderr=subprocess.PIPE)
    finally:
        os.close(writing)
    assert (result.returncode, result.stderr) == (141, "")


@pytest.mark.parametrize("arguments", [["config", "example"], ["--help"], ["backstores", "--json"]])
def test_output_onto_a_full_disk(arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        result = process(*arguments, stdout=full, stderr=subprocess.PIPE)
    assert (result.returncode, result.stderr) == (1, "iscsitools: standard output: No space left on device\n")


def test_completion_lists_the_commands() -> None:
    words = {"_ISCSITOOLS_COMPLETE": "bash_complete", "COMP_WORDS": "iscsitools ", "COMP_CWORD": "1"}
    result = process(capture_output=True, env={**os.environ, **words})
    assert "plain,serve" in result.stdout.splitlines()


def test_the_completion_script_is_for_this_command() -> None:
    result = process(capture_output=True, env={**os.environ, "_ISCSITOOLS_COMPLETE": "bash_source"})
    assert "_ISCSITOOLS_COMPLETE=bash_complete" in result.stdout
    assert subprocess.run(["bash", "-n", "-c", result.stdout], timeout=60, check=False).returncode == 0
