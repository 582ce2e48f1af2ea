"""``iscsitools new-plugin``: what it writes is installed into an environment of its own, and passes its own tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from iscsitools.cli import main
from iscsitools.cli.new_plugin import KINDS

KIT = {
    "backstore": {"check_model", "serve"},
    "filter": {"check_model", "check_crashes", "check_faults"},
    "hooks": set(),
}
"""What the tests of each kind call of iscsitools.testing; of a store in memory nothing survives a power failure."""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment that sees what ours has, so that nothing has to be fetched."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    ours = sysconfig.get_path("purelib")
    (packages / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    return folder


def run(environment: Path, *arguments: str, cwd: Path) -> str:
    """Run a module in the environment and return what it printed; fails when it does."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PYTEST", "PIP"))}
    command = [str(environment / "bin" / "python"), "-m", *arguments]
    process = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=clean)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_it_installs_and_passes_its_own_tests(environment: Path, tmp_path: Path, kind: str) -> None:
    name = f"my-{kind}"
    run(environment, "iscsitools", "new-plugin", name, "--kind", kind, cwd=tmp_path)
    folder = tmp_path / f"iscsitools-{name}"
    run(environment, "pip", "install", "-q", "--no-index", "--no-build-isolation", f"./{folder.name}", cwd=tmp_path)
    listed = json.loads(run(environment, "iscsitools", "plugins", "--json", cwd=tmp_path))
    found = {plugin["name"]: plugin for plugin in listed}
    assert (found[name]["status"], found[name]["distribution"]) == ("loaded", folder.name), found[name]["error"]
    (tests,) = (folder / "tests").glob("*.py")
    assert {
        name for name in ("check_model", "check_crashes", "check_faults", "serve") if f" {name}(" in tests.read_text()
    } == KIT[kind]
    assert " passed" in run(environment, "pytest", "-q", "-W", "error", str(folder), cwd=tmp_path)
    run(environment, "ruff", "check", "--isolated", "--line-length=120", str(folder), cwd=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (("My Plugin",), 2, "'My Plugin' is no name of a plugin"),
        (("x-",), 2, "'x-' is no name of a plugin"),
        (("ram",), 2, "there is already a backstore named 'ram'"),
        (("cow", "--kind", "filter"), 2, "there is already a filter named 'cow'"),
        (("builtin", "--kind", "hooks"), 2, "there is already a plugin named 'builtin', from iscsitools"),
        (("new", "--directory", "full"), 1, "full is there already"),
        (("new", "--directory", "full/file"), 1, "full/file is there already"),
        (("new", "--directory", "full/file/x"), 1, "full/file/x: Not a directory"),
    ],
)  # fmt: skip
def test_what_cannot_be_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[Any, ...],
    status: int, complaint: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert main.run(["new-plugin", *arguments]) == status
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"iscsitools: {complaint}")
    assert output.err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full"]
