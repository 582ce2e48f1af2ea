"""The units of packaging/systemd, as systemd's own tools judge them; no systemd runs for it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from support.tools import needs

SYSTEMD = Path(__file__).resolve().parents[2] / "packaging" / "systemd"
UNITS = ("iscsitools.service", "iscsitools@.service", "iscsitools.socket")
EXPOSURE = "13"
"""Tenths: below 2.0 systemd-analyze says OK, and green."""


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [needs("systemd-analyze", "systemd"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("unit", UNITS[:2])
def test_the_service_is_in_the_green(unit: str) -> None:
    done = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", str(SYSTEMD / unit))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("removed", ["ProtectSystem=strict", "SystemCallFilter=@system-service", "User=iscsitools"])
def test_the_threshold_notices_what_is_missing(removed: str, tmp_path: Path) -> None:
    text = (SYSTEMD / UNITS[0]).read_text()
    assert f"{removed}\n" in text
    weaker = tmp_path / UNITS[0]
    weaker.write_text(text.replace(f"{removed}\n", ""))
    assert analyze("security", "--offline=true", f"--threshold={EXPOSURE}", str(weaker)).returncode == 1


def test_systemd_takes_every_line(tmp_path: Path) -> None:
    for unit in UNITS:
        text = (SYSTEMD / unit).read_text()
        (tmp_path / unit).write_text(text.replace("/usr/bin/iscsitools", "/bin/true"))
    done = analyze("verify", "--man=no", *(str(tmp_path / unit) for unit in UNITS))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_template_differs_where_it_has_to() -> None:
    one, many = ((SYSTEMD / unit).read_text().splitlines() for unit in UNITS[:2])
    differing = [name.partition("=")[0] for name, other in zip(one, many, strict=True) if name != other]
    assert differing == ["Description", "ExecStart", "StateDirectory", "WorkingDirectory"]


def test_the_user_and_the_folders_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for tool, kind in (("systemd-sysusers", "sysusers"), ("systemd-tmpfiles", "tmpfiles")):
        needs(tool, "systemd")
        file = tmp_path / f"iscsitools.{kind}"
        shutil.copy(SYSTEMD / file.name, file)
        words = [tool, f"--root={tmp_path}", *(["--create"] if kind == "tmpfiles" else []), str(file)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert "iscsitools:" in (tmp_path / "etc/passwd").read_text()
    modes = {name: oct((tmp_path / name).stat().st_mode & 0o7777) for name in ("etc/iscsitools", "var/lib/iscsitools")}
    assert modes == {"etc/iscsitools": "0o750", "var/lib/iscsitools": "0o750"}
