"""Completion, in the shells themselves: a command, the server that runs, its target and its LUN, typed with TAB.

Each shell is tried with the file that the packages install, and with the line that README has.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import alone
from support.target import RunningTarget, start_target
from support.terminal import Terminal
from support.tools import needs, needs_terminal

FILES = Path(__file__).resolve().parents[2] / "packaging" / "completion"
IQN = "iqn.2026-11.example:disks"
SHELLS = {
    "bash": ("bash", "--noprofile", "--norc", "-i"),
    "zsh": ("zsh", "-f", "-i"),
    "fish": ("fish", "--no-config", "-i"),
}
INSTALLED = {
    "bash": f". {FILES}/iscsitools",
    "zsh": f"fpath=({FILES} $fpath); autoload -U compinit; compinit -u -D",
    "fish": f"set -p fish_complete_path {FILES}",
}
PROMPTS = {"bash": "PS1='> '", "zsh": "PS1='> '", "fish": "function fish_prompt; echo '> '; end"}


@pytest.fixture
def target(tmp_path: Path) -> Iterator[RunningTarget]:
    with start_target(tmp_path, "--name", "shelf", "--iqn", IQN, "--lun", "7=ram:1M") as running:
        yield running


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    """The name of a shell, which is there."""
    name: str = request.param
    needs(name, name)
    needs("tmux", "tmux")
    needs_terminal()
    return name


@pytest.fixture
def terminal(shell: str, target: RunningTarget) -> Iterator[Terminal]:
    directory = tempfile.mkdtemp(prefix="it-", dir="/tmp")
    program = Path(directory) / "iscsitools"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(alone.COMMAND)} "$@"\n')
    program.chmod(0o755)
    path, runtime = f"PATH={directory}:{os.environ['PATH']}", f"XDG_RUNTIME_DIR={target.runtime}"
    home = [f"{name}={directory}" for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME")]
    shown = Terminal(directory, 120, 24, path, runtime, *home, *SHELLS[shell])
    shown.type(f"{PROMPTS[shell]}\n")
    shown.until(r"^> ?$")
    yield shown
    shown.close()
    shutil.rmtree(directory)


def readme(shell: str) -> str:
    """The line that README has for bash, for this shell."""
    text = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    (line,) = re.findall(r'^eval "\$\(_ISCSITOOLS_COMPLETE.*?\)"', text, re.MULTILINE)
    begin = "autoload -U compinit; compinit -u -D; " if shell == "zsh" else ""
    return begin + line.replace("bash_source", f"{shell}_source")


@pytest.mark.parametrize("how", ["installed", "README"])
def test_a_line_is_typed_with_tab(shell: str, terminal: Terminal, target: RunningTarget, how: str) -> None:
    terminal.type((INSTALLED[shell] if how == "installed" else readme(shell)) + "; clear\n")
    terminal.until(r"\A> ?$")
    terminal.type("iscsitools ")
    shown = "> iscsitools"
    for letters, words in (
        ("lu", "lun"),
        ("res", "resize"),
        ("--name sh", "--name shelf"),
        ("iqn.2026-11.example:d", IQN),
        ("", "7"),
    ):
        terminal.type(letters)
        terminal.keys("Tab")
        # A shell may put a space behind what is complete; one more does no harm.
        shown += " +" + re.escape(words)
        terminal.until(f"^{shown} *$")
        terminal.type(" ")
    terminal.type("2M --dry-run\n")
    terminal.until(f"LUN 7 of {IQN} grows from 1M to 2M")


def test_a_server_that_is_not_there_prints_nothing_into_the_line(shell: str, terminal: Terminal) -> None:
    terminal.type(INSTALLED[shell] + "; clear\n")
    terminal.until(r"\A> ?$")
    terminal.type("iscsitools lun resize --name none iqn")
    terminal.keys("Tab")
    terminal.type(".2026")
    screen = terminal.until(r"^> iscsitools lun resize --name none iqn\.2026$")
    assert len(screen.split("\n")) - screen.count("\n\n") <= 24
    assert "Traceback" not in screen
    assert "no running server" not in screen
