"""What the DTrace backend makes and finds: libusdt, built at first use, its compiler, and the files of both."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.native import needs_libusdt
from support.tools import needs

from iscsitools.provider import building, libusdt, memory, places, registration
from iscsitools.provider.errors import ProviderError

from .systems import Sent


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ProviderError, match=r"iscsitools\[dtrace\]"):
        building.package_folder()


def test_a_failed_build_says_what_the_compiler_said(tmp_path: Path) -> None:
    needs("cc", "gcc")
    source = tmp_path / "bad.c"
    source.write_text("#error no luck\n")
    with pytest.raises(ProviderError, match="no luck"):
        building.build(building.compiler(), ["-c", str(source)], tmp_path / "bad.so")


def compiler_that_prints(folder: Path, escaped: str) -> Path:
    """A compiler that only complains, in the words of ``printf``."""
    made = folder / "complaining"
    made.write_text(f"#!/bin/sh\nprintf '{escaped}' >&2\nexit 1\n")
    made.chmod(0o755)
    return made


def test_a_compiler_s_words_need_not_be_in_our_encoding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="error: \ufffd"):
        building.build([str(compiler_that_prints(tmp_path, r"error: \377\n"))], [], tmp_path / "made.so")


@pytest.mark.parametrize(
    ("given", "there", "found"),
    [
        ("", ("cc", "gcc"), "cc"),
        ("", ("gcc",), "gcc"),
        ("clang -m64", ("cc", "clang"), "clang -m64"),
    ],
)
def test_which_compiler(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str, there: tuple[str, ...], found: str
) -> None:
    for name in there:
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CC", given)
    assert building.compiler() == found.split()


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(ProviderError, match="no C compiler was found"):
        building.compiler()


def test_a_named_compiler_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one in its place would hide the mistake."""
    needs("cc", "gcc")
    monkeypatch.setenv("CC", "no-such-clang -m64")
    with pytest.raises(ProviderError, match="CC=no-such-clang -m64: there is no no-such-clang"):
        building.compiler()


def test_a_package_that_cannot_be_read_is_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As where root installed it for itself alone."""
    (tmp_path / "usdt" / "libusdt").mkdir(parents=True)
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path / "usdt")])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    monkeypatch.setattr(libusdt, "INSTALLED", tmp_path / "none")
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setitem(registration.DEVICES, "Linux", "/dev/null")
    (tmp_path / "usdt").chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may read all
    try:
        reason = registration.unavailable()
    finally:
        if user == 0:
            os.seteuid(0)
        (tmp_path / "usdt").chmod(0o700)
    assert reason.startswith("python-usdt cannot be read: ")


def test_a_system_without_a_folder_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a container that is read-only: the target starts, and what needs no file works."""
    code = """
import tempfile
def none():
    raise FileNotFoundError("No usable temporary directory found")
tempfile.gettempdir = none
from iscsitools.cli.main import main
from iscsitools.provider import places
from iscsitools.trace import names
print(places.places(), names.candidates() == [names.SYSTEM_DIRECTORY])
"""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "('/var/tmp', '/dev/shm') True\n"


def test_the_device_s_reason_is_not_lost(tmp_path: Path) -> None:
    needs_libusdt()
    sent = Sent("SunOS", tmp_path)
    ctypes.set_errno(0)
    # There is no device, or not one that knows this.
    assert sent.library.usdt_dof_file_load(sent.placement.dof.file, b"iscsitools") < 0
    assert ctypes.get_errno() in (errno.ENOENT, errno.ENOTTY, errno.EACCES, errno.EINVAL)
    sent.close()


def test_a_pipe_by_the_name_of_a_file_of_ours_stops_nothing(tmp_path: Path) -> None:
    """Its opening waits for somebody who writes, and anybody may make one in a folder for temporary files."""
    os.mkfifo(tmp_path / f"{memory.PREFIX}1-x")
    code = "from iscsitools.provider import memory; memory.clean()"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment)


def test_the_next_start_removes_what_a_killed_process_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "folders", lambda: iter([tmp_path]))
    left = tmp_path / f"{memory.PREFIX}1-x"
    left.write_bytes(b"")
    other = tmp_path / "other"
    other.write_bytes(b"")
    held = memory.FileMemory(1)
    held.fill(b"code")
    try:
        assert memory.clean() == [left]
        assert held.path is not None
        assert sorted(tmp_path.iterdir()) == sorted([held.path, other])
    finally:
        held.close()
    assert list(tmp_path.iterdir()) == [other]


def test_a_build_removes_what_killed_ones_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "folders", lambda: iter([tmp_path]))
    left, other = tmp_path / f"{building.PREFIX}left", tmp_path / "other"
    for folder in (left, other):
        folder.mkdir()
        (folder / "libusdt.so").write_bytes(b"")
    new = tmp_path / f"{building.PREFIX}new"
    new.mkdir()
    for folder in (left, other):
        os.utime(folder, (0, 0))
    with building.build_folder() as first:
        os.utime(first, (0, 0))
        with building.build_folder() as second:
            assert sorted(tmp_path.iterdir()) == sorted([new, other, first, second])
    assert sorted(tmp_path.iterdir()) == sorted([new, other])
