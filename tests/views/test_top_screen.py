"""The live screen in a real terminal: tmux types the keys and shows what is on the screen."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import alone
from support.terminal import Terminal
from support.tools import needs, needs_terminal

TOP = (*alone.COMMAND, "top", "0.5")


def start_stage(name: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "views.stage", name],
        cwd=Path(__file__).parent.parent, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def end_stage(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


@pytest.fixture
def loaded() -> Iterator[list[subprocess.Popen[str]]]:
    """A list of running servers; the test may end them and add others."""
    running = [start_stage("demo")]
    yield running
    for process in running:
        end_stage(process)


@pytest.fixture
def terminal(loaded: list[subprocess.Popen[str]]) -> Iterator[Terminal]:
    needs("tmux", "tmux")
    needs_terminal()
    directory = tempfile.mkdtemp(prefix="it-", dir="/tmp")  # short: the path of a Unix socket has at most 107 bytes
    shown = Terminal(directory, 80, 24, *TOP)
    yield shown
    shown.close()
    shutil.rmtree(directory)


def test_screen_keys_resize_and_quit(terminal: Terminal) -> None:
    screen = terminal.until(r"^192\.0\.2\.7 +disks +0 +[1-9]")
    assert "demo: 1 session, CPU " in screen
    assert re.search(r"^2001:db8::7 +disks +1 +0 +[1-9]", screen, re.MULTILINE)
    assert re.search(r"^total +[1-9]", screen, re.MULTILINE)
    assert re.search(r"^192\.0\.2\.7.* 3 +0 ", screen, re.MULTILINE)  # in flight, by the server's own count
    assert max(map(len, screen.splitlines())) <= 80
    assert "q quit" in screen.splitlines()[-1]

    terminal.keys("g")
    terminal.until("by client, sorted")
    terminal.until(r"^CLIENT +TARGET", absent=True)
    terminal.keys("s")
    terminal.until(r"\*R/s")
    terminal.keys(">")
    screen = terminal.until(r"\*W/s")
    assert screen.index("2001:db8::7") < screen.index("192.0.2.7")
    terminal.keys("r")
    terminal.until(r"^192\.0\.2\.7(.|\n)*^2001:db8::7")
    terminal.keys("+")
    terminal.until("every 1 s")
    terminal.keys("-")
    terminal.until(r"every 0\.5 s")

    terminal.keys("/")
    terminal.until("^Filter:")
    terminal.keys("-l", "db8")
    terminal.keys("Enter")
    terminal.until(r"only 'db8'")
    terminal.until(r"^192\.0\.2\.7", absent=True)
    terminal.keys("/")
    terminal.keys("Escape")
    terminal.until(r"^192\.0\.2\.7")

    terminal.keys("h")
    terminal.until("any other key closes")
    terminal.keys("x")
    terminal.until("any other key closes", absent=True)

    terminal.keys("p")
    terminal.until("PAUSED")
    terminal.keys("p")
    terminal.until("PAUSED", absent=True)

    terminal.resize(140, 40)
    screen = terminal.until(r"LAST MIN.*$")
    terminal.until(r"^q quit")
    assert len(terminal.screen().splitlines()) == 40
    terminal.resize(60, 10)
    terminal.until(r"^192\.0\.2\.7")
    terminal.resize(40, 10)
    terminal.until(r"^q quit  h help  v view  s sort  g group *$")

    assert not terminal.ended()
    terminal.keys("q")
    terminal.wait_for_end()


def test_views_percentiles_heat_map_and_a_view_that_is_kept(terminal: Terminal) -> None:
    terminal.until(r"^192\.0\.2\.7 +disks +0 +[1-9]")
    terminal.keys("v")
    terminal.until(r"RAVG +RP99 +W/s")
    terminal.keys("]")
    terminal.until(r"RP99\.9")
    terminal.keys("[", "[")
    terminal.until(r"RP90")
    terminal.keys("m")
    screen = terminal.until(r"shades '\.:-=\+\*#%@' up to [1-9]")
    assert re.search(r"192\.0\.2\.7, iqn\.2026-11\.example:disks, 0|2001:db8::7, iqn", screen)
    assert re.search(r"\d(us|ms) \| +.*[.:@]", screen)
    terminal.until(r"-60 s +now")
    terminal.keys("Left")
    terminal.until(r"-75 s +-15 s")
    terminal.keys("Left", "Right", "Right")
    terminal.until(r"-60 s +now")
    terminal.keys("p")
    terminal.until(r"PAUSED")
    terminal.keys("p", "Left")
    terminal.until(r"-75 s +-15 s")
    terminal.keys("x")
    terminal.until("-15 s", absent=True)
    terminal.keys("w")
    terminal.until("^Save this view as:")
    terminal.keys("-l", "mine")
    terminal.keys("Enter")
    terminal.until("saved as 'mine'")
    terminal.resize(40, 12)
    terminal.until(r"^CLIENT +TARGET +LUN +R/s")
    terminal.keys("Right", "Right", "Right")
    terminal.until(r"^CLIENT +TARGET +LUN +W/s")


def test_rows_are_opened_and_closed(terminal: Terminal) -> None:
    terminal.until(r"^192\.0\.2\.7 +disks +0 +[1-9]")
    terminal.keys("g")
    terminal.until("by client, sorted")
    terminal.keys("o")
    terminal.until(r"^  disks LUN \d +\d")
    terminal.keys("Down", "o")
    terminal.until(r"^  disks LUN", absent=True)


def test_phases_and_sessions(terminal: Terminal) -> None:
    terminal.until(r"^192\.0\.2\.7 +disks +0 +[1-9]")
    terminal.keys("v", "v", "v")
    terminal.until(r"BUSY +BACK +BP99 +DATA +DP99 +SEND +SP99")
    terminal.until(r"^192\.0\.2\.7 +disks +0 +\d+% +\d\S*s +\d\S*s +- ")  # a read waits for no data
    terminal.keys("g", "g", "g", "g", "g")
    terminal.until(r"^\S+ 0x\d{4} +disks +\d+%")


def test_the_help_can_be_read_to_its_end_on_a_small_screen(terminal: Terminal) -> None:
    terminal.until(r"^192\.0\.2\.7")
    terminal.resize(60, 15)
    terminal.keys("h")
    assert "highest" not in terminal.until("any other key closes")
    for key, there in (("End", "highest"), ("Home", "quit"), ("NPage", "R/s W/s"), ("PPage", "quit")):
        terminal.keys(key)
        terminal.until(there)
    for _ in range(30):
        terminal.keys("Down")
    assert "any other key closes" in terminal.until("highest")
    terminal.resize(80, 24)
    terminal.keys("x")
    terminal.until("any other key closes", absent=True)


def test_a_restart_of_the_target(terminal: Terminal, loaded: list[subprocess.Popen[str]]) -> None:
    terminal.until(r"^192\.0\.2\.7 +disks +0 +[1-9]")
    end_stage(loaded.pop())
    terminal.until("demo: gone, waiting for it to come back")
    loaded.append(start_stage("demo"))
    terminal.until(r"^192\.0\.2\.7 +disks +0 +[1-9]")
    terminal.until("demo: 1 session")


def test_all_servers_are_shown(terminal: Terminal, loaded: list[subprocess.Popen[str]]) -> None:
    terminal.until("demo: 1 session")
    loaded.append(start_stage("second"))
    terminal.until("second: 1 session")
    for _ in range(4):
        terminal.keys("g")
    terminal.until(r"^demo +[1-9](.|\n)*^second +[1-9]|^second +[1-9](.|\n)*^demo +[1-9]")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_standard_output_without_the_graphs_letters(loaded: list[subprocess.Popen[str]], encoding: str) -> None:
    needs("tmux", "tmux")
    needs_terminal()
    directory = tempfile.mkdtemp(prefix="it-", dir="/tmp")
    terminal = Terminal(directory, 80, 24, f"PYTHONIOENCODING={encoding}", *TOP)
    try:
        screen = terminal.until(r"^192\.0\.2\.7 +disks +0 +[1-9].*@$")
        assert screen.isascii()
        assert max(map(len, screen.splitlines())) <= 80
        terminal.keys("h")
        terminal.until("any other key closes")
        terminal.keys("x")
        terminal.until("any other key closes", absent=True)
        assert not terminal.ended()
        terminal.keys("q")
        terminal.wait_for_end()
    finally:
        terminal.close()
        shutil.rmtree(directory)
