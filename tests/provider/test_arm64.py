"""The native part on arm64: compiled by zig, run under qemu's user emulation with traps as a kernel places them."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.tools import missing, needs

from iscsitools.probes.table import PROVIDER_PROBES, XFER_PROBES, Probe, info_of
from iscsitools.provider import building
from iscsitools.provider.errors import ProviderError

BHS = bytes(range(48))
CDB = bytes([0x88, 1, 2, 3, 4, 5, 6, 7])
OPERANDS = "8@[x0] 8@[x0, 8] 8@[x0, 16] 8@[x0, 24] 8@[x0, 32] 8@[x0, 40] 8@[x0, 48] 8@[x0, 56] 8@[x0, 64]"
PARTS = ("event", "sdt", "tracepoints")


@pytest.fixture(scope="module")
def program(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program arm64.c with the provider's sources and libusdt's, for arm64."""
    if importlib.util.find_spec("ziglang") is None:
        missing("ziglang is not installed (python -m pip install ziglang)")
    made = tmp_path_factory.mktemp("arm64")
    sys.path.insert(0, str(project / "provider"))
    try:
        import table
    finally:
        sys.path.remove(str(project / "provider"))
    (made / "table.h").write_text(table.header())
    try:
        libusdt = building.source_arguments("Linux", "aarch64", building.package_folder())
    except ProviderError as error:
        missing(str(error))
    words = [word for word in libusdt if word not in ("-shared", "-fPIC")]
    sources = [str(Path(__file__).with_suffix("").with_name("arm64.c"))]
    sources += [str(project / "provider" / f"{part}.c") for part in PARTS]
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl", "-static", "-no-pie"]
    command += ["-fno-sanitize=all", f"-I{made}", f"-I{project / 'provider'}", *sources, *words]
    done = subprocess.run([*command, "-o", str(made / "arm64")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return made / "arm64"


def run(program: Path, *words: str) -> list[list[str]]:
    """Run it; the words of each line."""
    emulator = needs("qemu-aarch64-static", "qemu-user-static")
    done = subprocess.run([emulator, str(program), *words], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, (done.returncode, done.stderr)
    return [line.split() for line in done.stdout.splitlines()]


def seen(probe: Probe) -> list[str]:
    """ITT, flags, and the first word that the second argument points to."""
    if probe in XFER_PROBES:
        return ["77", "0", str(0x1234)]
    info = info_of(probe, BHS, 5)
    return [str(info.itt), str(info.flags), "16" if probe is Probe.SCSI_COMMAND else "0"]


@pytest.mark.parametrize("convention", ["libusdt", "linux"])
def test_traps_enable_each_probe_and_find_its_arguments(program: Path, convention: str) -> None:
    expected = [[str(int(probe)), hex(1 << probe), *seen(probe)] for probe in PROVIDER_PROBES]
    assert run(program, convention) == expected


def test_sdt_notes_tell_where_the_arguments_are(program: Path) -> None:
    notes = subprocess.run(
        [needs("readelf", "binutils"), "--notes", str(program)], capture_output=True, text=True, check=True
    ).stdout
    found = dict(re.findall(r"Name: (\w+)\s+Location: (0x[0-9a-f]+, Base: 0x[0-9a-f]+, Semaphore: 0x[0-9a-f]+)", notes))
    assert set(re.findall(r"Arguments: (.*)", notes)) == {OPERANDS}
    places = [re.findall("0x[0-9a-f]+", found[probe.name.lower()]) for probe in PROVIDER_PROBES]
    lines = run(program, "sdt", *(place for location, _, semaphore in places for place in (location, semaphore)))
    for probe, line in zip(PROVIDER_PROBES, lines, strict=True):
        itt, flags, first = seen(probe)
        datalen = 0 if probe in XFER_PROBES else info_of(probe, BHS, 5).datalen
        start = int.from_bytes(CDB, "big") if probe is Probe.SCSI_COMMAND else 0
        rest = [0xABC, 0xDEF, 5, int(itt), datalen, int(flags), start]
        assert line == [str(int(probe)), hex(1 << probe), itt, flags, first, *(f"{n:#x}" if n else "0" for n in rest)]
