"""What `make wheels` gives away: built by zig, looked into, and refused when something is missing."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "packaging" / "wheels" / "build.py"
ZIG = importlib.util.find_spec("ziglang")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if ZIG is None:
        pytest.skip("zig is not installed (Python package ziglang, which has wheels for some systems only)")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, str(BUILD), str(folder), "sdist", "gnu-x86_64"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("wheels_build", BUILD)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def wheel_of(folder: Path) -> Path:
    (wheel,) = folder.glob("*.whl")
    assert wheel.name.endswith("-cp311-abi3-manylinux_2_17_x86_64.whl")
    return wheel


@pytest.mark.parametrize(
    "name",
    ["datapath/_native.abi3.so", "provider/_native.abi3.so", "_libusdt.so", "_libusdt.LICENCE", "iscsitools-top.1"],
)
def test_a_wheel_that_lacks_a_part_is_refused(made: Path, builder: ModuleType, name: str, tmp_path: Path) -> None:
    whole = wheel_of(made)
    target = builder.TARGETS["gnu-x86_64"]
    assert builder.check(whole, target).startswith(whole.name)
    lacking = tmp_path / whole.name
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(lacking, "w") as new:
        for entry in old.infolist():
            if not entry.filename.endswith(name):
                new.writestr(entry, old.read(entry))
    with pytest.raises(builder.WheelError, match=name):
        builder.check(lacking, target)


def test_a_wheel_for_another_system_is_refused(made: Path, builder: ModuleType) -> None:
    for name, why in (("gnu-aarch64", "EM_X86_64"), ("musl-x86_64", r"needs libc\.so\.6")):
        with pytest.raises(builder.WheelError, match=why):
            builder.check(wheel_of(made), builder.TARGETS[name])


def test_the_module_of_a_wheel_has_its_probes(made: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel_of(made)) as archive:
        archive.extractall(tmp_path)
    program = "from iscsitools.provider import _native; print(_native.__file__, _native.HAVE_SDT)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(tmp_path / "iscsitools/provider/_native.abi3.so"), "1"]


def test_the_source_distribution_has_tests_docs_and_makefile(made: Path) -> None:
    (archive,) = made.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this checkout has no git, which says what belongs to it")
    missing = {
        name
        for name in listed.stdout.splitlines()
        if name not in names and not name.startswith((".git", "iscsitools/dscripts"))
    }
    assert missing == set()
