"""``iscsitools dtrace run``: which words go to dtrace, by a program of that name that prints them."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from support.target import start_target

from iscsitools.dtrace import variants
from iscsitools.dtrace.arguments import parse
from iscsitools.dtrace.library import library_arguments
from iscsitools.dtrace.system import System
from iscsitools.dtrace.variants import DSCRIPTS, LINUX
from iscsitools.errors import RunError, UsageError

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="the words are those of DTrace for Linux")
FAKE = """#!/bin/sh
[ "$1" = -V ] && { echo "dtrace: D 2.0.7"; exit; }
for word; do printf '<%s>' "$word"; done
echo
case "$*" in *"-s /dev/stdin"*) cat;; esac
"""
LIBRARY = f"<-L><{LINUX.folder}>"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder; first in PATH is a dtrace that says how it was called."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "dtrace"
    program.write_text(FAKE)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str, given: str = "", status: int = 0) -> str:
    """What the fake dtrace printed behind its name, or the error."""
    command = [sys.executable, "-m", "iscsitools", "dtrace", "run", *words]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert (done.returncode, bool(done.stderr)) == (status, status != 0), done.stderr
    return done.stderr if status else done.stdout


def test_a_script_by_name_with_options_before_and_after(folder: Path) -> None:
    script = DSCRIPTS / "iscsislower.d"
    assert run("-q", "iscsislower", "-o", "out.txt", "0", "-x", "strsize=9") == (
        f"{LIBRARY}<-q><-o><out.txt><-x><strsize=9><-s><{script}><0>\n"
    )
    assert run("iscsislower", "--", "-5") == f"{LIBRARY}<-s><{script}><-5>\n"


def test_clauses(folder: Path) -> None:
    assert run("-qn", "iscsi:::scsi-command { @ = count(); }", "7") == (
        f"{LIBRARY}<-q><-n><iscsi*:::scsi-command {{ @ = count(); }}><7>\n"
    )
    script = DSCRIPTS / "iscsiio.d"
    assert run("iscsiio", "-ntick-5s { exit(0); }") == f"{LIBRARY}<-s><{script}><-n><tick-5s {{ exit(0); }}>\n"


def test_a_file_and_the_options_of_its_first_line(folder: Path) -> None:
    Path("own.d").write_text("#!/usr/sbin/dtrace -Zqs\niscsi:::xfer-done { }\n")
    assert run("own.d") == (f"{LIBRARY}<-Z><-q><-s></dev/stdin>\n#!/usr/sbin/dtrace -Zqs\niscsi*:::xfer-done {{ }}\n")
    Path("own.d").write_text("iscsi*:::xfer-done { }\n")
    assert run("-s", "own.d") == f"{LIBRARY}<-s><own.d>\n"


def test_standard_input(folder: Path) -> None:
    assert run("-", "7", given="BEGIN { exit($1); }\n") == f"{LIBRARY}<-s></dev/stdin><7>\nBEGIN {{ exit($1); }}\n"


def test_a_listing_needs_no_script(folder: Path) -> None:
    assert run("-l", "-P", "iscsi*") == f"{LIBRARY}<-l><-P><iscsi*>\n"


def test_a_server_by_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with start_target(folder, "--name", "here", "--lun", "ram:1M") as target:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(target.runtime))
        assert run("--name", "here", "-n", "iscsi$target:::a { x = $target; }") == (
            f"{LIBRARY}<-n><iscsi{target.pid}:::a {{ x = {target.pid}; }}>\n"
        )
    assert "no running server" in run("--name", "here", "iscsiio", status=1)


def test_the_target_of_dtrace_s_own_options(folder: Path) -> None:
    assert run("-p", "7", "-n", "iscsi$target:::a{}") == f"{LIBRARY}<-p><7><-n><iscsi7:::a{{}}>\n"
    assert run("-c", "true", "-n", "iscsi$target:::a{}") == f"{LIBRARY}<-c><true><-n><iscsi$target:::a{{}}>\n"
    assert "say which with --name" in run("-n", "iscsi$target:::a{}", status=2)


def test_show_prints_what_was_made_and_runs_nothing(folder: Path) -> None:
    (folder / "bin" / "dtrace").unlink()
    assert run("--show", "--pid", "7", "-n", "iscsi:::xfer-*{}") == "iscsi7:::xfer-start, iscsi7:::xfer-done{}\n"


def test_a_script_of_the_kernel_s_arguments_needs_no_dtrace_to_be_refused(folder: Path) -> None:
    Path("time.d").write_text("iscsi:::xfer-start\n{\n\tstart[arg1] = timestamp;\n}\n")
    assert run("time.d", status=1) == (
        "iscsitools: time.d, line 3: arg1 is an argument of the kernel's provider; this one's is args[2]->xfer_laddr\n"
    )


def test_a_book_s_script_of_the_kernel_s_arguments(folder: Path, project: Path) -> None:
    script = project / "tests" / "dtrace" / "scripts" / "others" / "booktime.d"
    first, second = run(str(script), status=1).splitlines()
    assert "line 7: arg1 " in first
    assert first.endswith(" args[2]->xfer_laddr")
    assert "line 13: arg8 " in second
    assert second.endswith(" args[2]->xfer_type (0 for a read, 1 for a write)")


@pytest.mark.parametrize(
    "words", [(), ("-q",), ("-n",), ("a.d", "-s", "b.d"), ("--name", "a", "--pid", "7", "iscsiio")]
)
def test_what_makes_no_sense(folder: Path, words: tuple[str, ...]) -> None:
    assert run(*words, status=2).count("\n") == 1


def test_a_library_that_collides_is_an_error(tmp_path: Path) -> None:
    system = System("here", variants.FREEBSD, "", tmp_path / "system")
    system.folder.mkdir()
    (system.folder / "net.d").write_text("typedef struct conninfo {\n\tstring ci_local;\n} conninfo_t;\n")
    with pytest.raises(RunError, match=r"net\.d defines conninfo_t"):
        library_arguments(system)
    (system.folder / "net.d").unlink()
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.d").write_text("typedef struct x {\n\tint y;\n} xferinfo_t;\n")
    assert library_arguments(system) == ["-L", str(variants.FREEBSD.folder)]
    with pytest.raises(RunError, match=r"mine\.d defines xferinfo_t"):
        library_arguments(system, [other])


def test_one_of_a_script_and_its_own_types(folder: Path) -> None:
    Path("own.d").write_text("typedef struct uiscsiproto {\n\tint x;\n} uiscsiproto_t;\n")
    assert run("own.d") == "<-s><own.d>\n"


def test_the_path_for_plain_dtrace(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "iscsitools", "dtrace", "path"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{LINUX.folder}\n"


@pytest.mark.parametrize(
    ("words", "options", "programs", "arguments"),
    [
        (["-qFx", "a=b", "s"], [["-q"], ["-F"], ["-x", "a=b"]], [("name", "s")], []),
        (["-n", "x", "y", "z"], [], [("n", "x")], ["y", "z"]),
        (["-32", "s", "1"], [["-3", "2"]], [("name", "s")], ["1"]),
    ],
)  # fmt: skip
def test_words(
    words: list[str], options: list[list[str]], programs: list[tuple[str, str]], arguments: list[str]
) -> None:
    found = parse(words)
    assert (found.options, found.programs, found.arguments) == (options, programs, arguments)


def test_an_option_without_its_value() -> None:
    with pytest.raises(UsageError, match="-o needs a value"):
        parse(["s", "-o"])
