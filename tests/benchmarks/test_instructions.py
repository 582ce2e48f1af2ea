"""Every form of the instruction count is answered; one is counted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.tools import needs, needs_file

from .programs import BENCHMARKS, needs_compiler, run_program

import stream  # isort: skip
from forms import FORMS, Form  # isort: skip
from loadgen import build  # isort: skip

PACKAGES = BENCHMARKS.parent


def feed(*arguments: str, data_path: str = "auto") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "feed.py"), str(PACKAGES), data_path, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def recorded(form: Form, directory: Path) -> list[str]:
    """feed.py's arguments for four I/Os of a form, the tags of their R2Ts filled in."""
    path = directory / f"{FORMS.index(form)}.stream"
    before = stream.record(path, form, 2, 2, 1 << 21)
    if form.write and form.unsolicited < form.size:
        assert not feed("learn", str(path)).stderr
    return [str(path), str(before), str(4 * form.answer_bytes)]


def needs_callgrind() -> None:
    needs_compiler()
    needs_file("/usr/include/valgrind/callgrind.h", "valgrind")


def test_every_form_is_answered(tmp_path: Path) -> None:
    needs_callgrind()
    arguments = [word for form in FORMS for word in recorded(form, tmp_path)]
    done = feed("count", "none", str(build("counting")), *arguments)
    assert done.stderr == ""
    assert len(done.stdout.split()) == len(FORMS)


@pytest.mark.parametrize("data_path", ["auto", "python"])
@pytest.mark.parametrize("watched", ["sums", "all-sums", "record"])
def test_who_looks_is_counted_too(tmp_path: Path, watched: str, data_path: str) -> None:
    needs_callgrind()
    done = feed("count", watched, str(build("counting")), *recorded(FORMS[0], tmp_path), data_path=data_path)
    assert done.stderr == ""
    assert done.stdout.strip().isdecimal()


def test_too_few_answers_are_an_error(tmp_path: Path) -> None:
    needs_callgrind()
    path, before, expected = recorded(FORMS[0], tmp_path)
    done = feed("count", "none", str(build("counting")), path, before, str(int(expected) * 100))
    assert done.returncode
    assert "bytes of answers, expected" in done.stderr


def test_instructions_are_counted_and_compared(tmp_path: Path) -> None:
    form = FORMS[0]
    needs_callgrind()
    needs("valgrind", "valgrind")
    before = tmp_path / "before.json"
    before.write_text(json.dumps({form.name: 1}))
    counts = tmp_path / "counts.json"
    done = run_program(
        "instructions.py",
        "--forms",
        form.name,
        "--few",
        "64",
        "--many",
        "64",
        "--json",
        str(counts),
        "--before",
        str(before),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(counts.read_text())[form.name] > 1000
    assert "over before" in done.stdout
