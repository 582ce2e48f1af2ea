"""What the Debian package holds, and whether its scripts are clean."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.tools import needs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("dpkg-deb", "dpkg")
    pytest.importorskip("ziglang", reason="zig is not installed (Python package ziglang)")
    folder = tmp_path_factory.mktemp("deb")
    command = [sys.executable, str(ROOT / "packaging/deb/build.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = folder.glob("*.deb")
    return made.rename(folder / "iscsitools.deb")


@pytest.mark.slow
def test_the_package_has_what_it_needs(package: Path) -> None:
    listed = subprocess.run(["dpkg-deb", "-c", str(package)], capture_output=True, text=True, check=True).stdout
    entries = {line.split()[5]: line.split()[:2] for line in listed.splitlines()}
    assert entries["./etc/iscsitools/iscsitools.toml"][0] == "-rw-r-----"
    assert {owner for _, owner in entries.values()} == {"root/root"}
    library = "./usr/lib/iscsitools/"
    for python in ("311", "313"):
        assert f"{library}google_crc32c/_crc32c.cpython-{python}-x86_64-linux-gnu.so" in entries
    for file in ("_native.abi3.so", "_libusdt.so", "_libusdt.LICENCE"):
        assert f"{library}iscsitools/provider/{file}" in entries
    for file in ("doc/iscsitools/copyright", "man/man1/iscsitools-top.1.gz", "bash-completion/completions/iscsitools"):
        assert f"./usr/share/{file}" in entries
    for script in ("postinst", "prerm", "postrm"):
        text = (ROOT / "packaging/deb/debian" / script).read_text()
        assert (
            subprocess.run([needs("shellcheck", "shellcheck"), "-"], input=text, text=True, check=False).returncode == 0
        )
