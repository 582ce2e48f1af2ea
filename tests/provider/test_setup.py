"""What an installation builds in C, with which compilers without a warning, and how it says what it could not."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.native import needs_data_path, needs_libusdt, needs_native
from support.tools import needs

from iscsitools.provider import backend, libusdt
from iscsitools.provider.errors import ProviderError


def build(project: Path, made: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``setup.py build_ext`` into a folder of its own."""
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed")
    command = [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", str(made), "--build-temp", str(made / "o")]
    return subprocess.run(
        command,
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_no_compiler_has_a_warning(project: Path, tmp_path: Path, compiler: str) -> None:
    command = needs(compiler, compiler)
    done = build(project, tmp_path, CC=command, ISCSITOOLS_CFLAGS="-Werror", ISCSITOOLS_REQUIRE_NATIVE="1")
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    assert (tmp_path / "iscsitools" / "provider" / "_native.abi3.so").exists()


def test_one_build_serves_every_later_python(tmp_path: Path) -> None:
    """The limited API of 3.11: nothing is asked of the interpreter that is not in it."""
    module = needs_native()
    if "abi3" not in Path(module.__file__ or "").name:
        pytest.skip("this Python has no limited API")
    words = [needs("nm", "binutils"), "--dynamic", "--undefined-only", str(module.__file__)]
    names = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    asked = {name for name in names if name.startswith(("Py", "_Py"))}
    assert asked
    private = {name for name in asked if name.startswith("_Py") and not name.endswith("_SizeT")}
    assert private <= {"_Py_Dealloc", "_Py_NoneStruct", "_Py_TrueStruct", "_Py_FalseStruct"}


LOADS = """
import sys
sys.path.insert(0, sys.argv[1])
from iscsitools.datapath import _native
from iscsitools.probes.firing import Probes
from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.provider import _native as provider
path = _native.DataPath(bytearray(262144), ConnectionInfo(1), Probes(lambda: 0))
path.tags.add(7)
path.exp_cmdsn = 1 << 31
thread = _native.DataThread()
thread.end()
print(provider.HAVE_SDT, path.exp_cmdsn, 7 in path.tags)
"""


def later_pythons() -> dict[str, str]:
    """Interpreters of this machine that are later than 3.11 and have the lock, by version."""
    found: dict[str, str] = {}
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)  # HOME is the tests' own
    kept = (*home.glob(".pyenv/versions/3.*/bin/python3"), *home.glob(".local/share/uv/python/*/bin/python3"))
    for name in (*(f"python3.{minor}" for minor in range(12, 20)), *map(str, kept)):
        if (path := shutil.which(name)) is None:
            continue
        command = [path, "-Ic", "import sys; print(*sys.version_info[:2], sys.abiflags)"]
        words = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
        if len(words) == 2 and (int(words[0]), int(words[1])) > (3, 11):  # a flag: without the lock, or for debugging
            found[".".join(words[:2])] = path
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="data threads need epoll")
def test_this_build_is_loaded_and_used_by_every_later_python_here(project: Path) -> None:
    needs_native()
    needs_data_path()
    pythons = later_pythons()
    if not pythons:
        pytest.skip("no later Python is here")
    for version, python in pythons.items():
        done = subprocess.run([python, "-IBc", LOADS, str(project)], capture_output=True, text=True, check=False)
        assert done.stdout.split() == [str(needs_native().HAVE_SDT), str(1 << 31), "True"], (version, done.stderr)


def test_a_part_that_cannot_be_built_is_one_line_and_kept(project: Path, tmp_path: Path) -> None:
    done = build(project, tmp_path, CC="no-such-compiler")
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert [line for line in lines if line.startswith("iscsitools: iscsitools.provider._native is not built: ")]
    assert not any("Traceback" in line for line in lines)
    folder = tmp_path / "iscsitools" / "provider"
    assert "no-such-compiler" in (folder / "_native.missing").read_text()
    assert len((folder / "_libusdt.missing").read_text().splitlines()) == 1
    assert not list(folder.glob("*.so"))


@pytest.fixture
def copy(project: Path, tmp_path: Path) -> Path:
    """What a build reads, to be changed."""
    made = tmp_path / "project"
    left_out = shutil.ignore_patterns("*.so", "*.missing", "__pycache__", "dscripts")
    for name in ("iscsitools", "provider", "datapath"):
        shutil.copytree(project / name, made / name, ignore=left_out)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(project / name, made)
    return made


@pytest.mark.parametrize(
    "changed",
    ["provider/parts.py", "provider/table.py", "iscsitools/probes/table.py", "setup.py", "provider/event.h",
     "provider/module.c"],
)  # fmt: skip
def test_what_changes_the_modules_has_them_built_anew(copy: Path, tmp_path: Path, changed: str) -> None:
    """Also a list of parts, a flag or the table of probes that has changed alone; and nothing else does."""
    compiler, log = tmp_path / "cc", tmp_path / "log"
    compiler.write_text(
        '#!/bin/sh\nfor word; do [ "$before" = -o ] && : >"$word"; before=$word; done\n'
        f'case "$*" in *provider*) echo "$*" >>{log};; esac\n'
    )
    compiler.chmod(0o755)
    built: list[bool] = []
    for step in range(3):
        log.write_text("")
        done = build(copy, tmp_path / "made", CC=str(compiler), LDSHARED=str(compiler))
        assert done.returncode == 0, done.stderr
        built.append("module.c" in log.read_text())
        if step == 1:
            later = time.time() + 60
            os.utime(copy / changed, (later, later))
    assert built == [True, False, True]


def test_those_who_pack_can_have_it_as_an_error(project: Path, tmp_path: Path) -> None:
    done = build(project, tmp_path, CC="no-such-compiler", ISCSITOOLS_REQUIRE_NATIVE="1")
    assert done.returncode != 0
    assert "no-such-compiler" in done.stderr


def test_the_reason_is_said_where_the_part_is_missed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept = tmp_path / "_native.missing"
    kept.write_text("command 'cc' failed\n")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(backend, "_MISSING", kept)
    with pytest.raises(ProviderError, match="the native module was not built: command 'cc' failed"):
        backend.native_module()


def test_libusdt_of_the_installation_needs_no_compiler(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    needs_libusdt()
    done = build(project, tmp_path)
    assert done.returncode == 0, done.stderr
    made = tmp_path / "iscsitools" / "provider" / "_libusdt.so"
    monkeypatch.setattr(libusdt, "INSTALLED", made)
    monkeypatch.setenv("PATH", "")
    assert libusdt.unavailable() == ""
    library = libusdt.load("Linux")
    assert library._name == str(made)


def test_one_that_does_not_load_is_made_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As where a system's C library is older than that of the machine where it was built."""
    needs_libusdt()
    broken = tmp_path / "_libusdt.so"
    broken.write_bytes(b"not a library")
    monkeypatch.setattr(libusdt, "INSTALLED", broken)
    assert libusdt.load("Linux")._name != str(broken)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(ProviderError, match=r"does not load: .*no C compiler was found"):
        libusdt.load("Linux")
