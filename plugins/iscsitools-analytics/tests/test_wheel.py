"""The wheel: the page is in it, with the licence, and nothing that was not written here."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PLUGIN = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a build leaves files behind
    shutil.copytree(PLUGIN, source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*command, "--wheel-dir", str(folder), str(source)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("iscsitools_analytics-*-py3-none-any.whl")
    return zipfile.ZipFile(path)


def test_the_page_is_in_the_wheel_as_it_is_here(wheel: zipfile.ZipFile) -> None:
    page = PLUGIN / "src" / "iscsitools_analytics" / "page"
    here = {f"iscsitools_analytics/page/{path.name}": path.read_bytes() for path in page.iterdir()}
    there = {name: wheel.read(name) for name in wheel.namelist() if "/page/" in name}
    assert there == here
    assert len([name for name in there if name.endswith(".js")]) > 10


def test_the_licence_is_in_it(wheel: zipfile.ZipFile) -> None:
    (licence,) = (name for name in wheel.namelist() if name.endswith("LICENSE"))
    assert b"Apache License" in wheel.read(licence)
    assert wheel.read(licence) == (PLUGIN.parent.parent / "LICENSE").read_bytes()


def test_no_script_is_another_projects(wheel: zipfile.ZipFile) -> None:
    """So there is nothing to fetch when it is built: modules import each other, and nothing else."""
    scripts = [name for name in wheel.namelist() if name.endswith(".js")]
    for name in scripts:
        text = wheel.read(name).decode()
        imported = re.findall(r'^(?:import|export)\b[^;]*?from "([^"]+)"', text, re.MULTILINE)
        assert all(f"iscsitools_analytics/page/{other.removeprefix('./')}" in scripts for other in imported)
        assert max(map(len, text.splitlines())) < 400  # nothing that was packed
    assert [name for name in wheel.namelist() if "node_modules" in name or ".min." in name] == []
