"""The native parts compiled for other systems with zig: no warning, and files of the right kind."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from support.tools import missing, needs

from iscsitools.probes.table import PROVIDER_PROBES
from iscsitools.provider import building
from iscsitools.provider.errors import ProviderError

ELF, MACH_O = b"\x7fELF", b"\xcf\xfa\xed\xfe"
X86_64, AARCH64 = 62, 183  # EM_* of ELF
MACH_X86_64, MACH_ARM64 = 0x01000007, 0x0100000C  # CPU_TYPE_* of Mach-O
KINDS = {
    "linux-gnu-x86_64": (ELF, X86_64),
    "linux-gnu-aarch64": (ELF, AARCH64),
    "linux-musl-x86_64": (ELF, X86_64),
    "linux-musl-aarch64": (ELF, AARCH64),
    "freebsd-amd64": (ELF, X86_64),
    "darwin-x86_64": (MACH_O, MACH_X86_64),
    "darwin-arm64": (MACH_O, MACH_ARM64),
}


@pytest.fixture(scope="module")
def built(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with a folder for each target."""
    if importlib.util.find_spec("ziglang") is None:
        missing("ziglang is not installed (python -m pip install ziglang)")
    try:
        building.package_folder()
    except ProviderError as error:
        missing(str(error))
    made = tmp_path_factory.mktemp("cross")
    command = [sys.executable, str(project / "packaging" / "cross" / "build.py"), str(made)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("name", ["provider/_native.abi3.so", "datapath/_native.abi3.so", "_libusdt.so"])
def test_each_file_is_of_its_system(built: Path, target: str, name: str) -> None:
    magic, machine = KINDS[target]
    image = (built / target / name).read_bytes()
    assert image[:4] == magic
    at, size = (18, 2) if magic == ELF else (4, 4)
    assert int.from_bytes(image[at : at + size], "little") == machine
    if target.startswith("freebsd"):
        assert b"FBSD_1." in image  # the versions of its C library's symbols


@pytest.mark.parametrize("target", [target for target in KINDS if target.startswith("linux")])
def test_all_probes_are_sdt_notes_on_linux(built: Path, target: str) -> None:
    words = [needs("readelf", "binutils"), "--notes", "--wide", str(built / target / "provider/_native.abi3.so")]
    notes = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert notes.count("Provider: iscsi") == len(PROVIDER_PROBES)
