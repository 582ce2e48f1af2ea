"""docs/initiator.md: its programs run and print what it says; every public name is described where it stands."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.target import RunningTarget, start_target

from iscsitools import initiator

PAGE = Path(__file__).parents[2] / "docs" / "initiator.md"
TEXT = PAGE.read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", TEXT, re.DOTALL)
TAKEN = {"Address", "NO_TAG", "FIELDS", "WAYS", "DEFAULT_OFFERS"}
"""Names of values, which have their text behind them in the source."""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTarget]:
    options = ("--iqn", "iqn.2026-11.example:disks", "--lun", "0=ram:64M", "--provider", "none")
    with start_target(tmp_path_factory.mktemp("target"), *options) as running:
        yield running


def test_each_program_has_its_output() -> None:
    assert len(PROGRAMS) == TEXT.count("```python") == 5


@pytest.mark.parametrize(("program", "output"), PROGRAMS)
def test_programs_print_what_the_page_says(target: RunningTarget, program: str, output: str) -> None:
    assert "3260" in program
    program = program.replace("3260", str(target.addresses[0][1]))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == (output, "")


def test_what_is_public_is_described() -> None:
    assert sorted(initiator.__all__) == sorted(name for name in initiator.__all__ if hasattr(initiator, name))
    bare = []
    for name in set(initiator.__all__) - TAKEN:
        thing = getattr(initiator, name)
        if not thing.__doc__ or thing.__doc__.startswith(f"{name}("):
            bare.append(name)
        if inspect.isclass(thing) and thing.__module__.startswith("iscsitools.initiator"):
            public = {k: v for k, v in vars(thing).items() if not k.startswith("_")}
            bare += [f"{name}.{k}" for k, v in public.items() if inspect.isroutine(v) and not inspect.getdoc(v)]
            bare += [f"{name}.{k}" for k, v in public.items() if isinstance(v, property) and not v.__doc__]
    assert bare == []


@pytest.mark.parametrize("name", sorted(TAKEN))
def test_values_are_described_behind_them(name: str) -> None:
    sources = "".join(path.read_text() for path in Path(initiator.__file__).parent.glob("*.py"))
    assert re.search(rf'^{name}\b[^\n]* = (\{{.*?^\}}|[^\n]*)\n"""', sources, re.MULTILINE | re.DOTALL)


def test_every_error_is_on_the_page() -> None:
    errors = [n for n in initiator.__all__ if n.endswith("Error")]
    assert [name for name in errors if f"`{name}`" not in TEXT and name != "InitiatorError"] == []
