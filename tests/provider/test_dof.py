"""The DOF that would be sent on each system, read with a reader of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from support.native import needs_libusdt

from iscsitools.probes.table import PROVIDER_PROBES, XFER_PROBES, Probe
from iscsitools.provider import registration
from iscsitools.provider.dof import Dof
from iscsitools.provider.errors import ProviderError
from iscsitools.provider.memory import FileMemory

from .dofreader import DofError, read
from .systems import SYSTEMS, Sent


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Sent]]:
    needs_libusdt()
    folder = tmp_path_factory.mktemp("libusdt")
    made = {system: Sent(system, folder) for system in SYSTEMS}
    yield made
    for each in made.values():
        each.close()


@pytest.mark.parametrize("system", SYSTEMS)
def test_header(sent: dict[str, Sent], system: str) -> None:
    dof = read(sent[system].image)
    # Version 2 brought is-enabled probes; macOS takes no other than 3, and DTrace for Linux has them only in 3.
    assert dof.version == (3 if system in ("Darwin", "Linux") else 2)
    assert (dof.dif_version, dof.registers) == (2, (8, 8))
    assert [section.type for section in dof.sections] == [8, 16, 17, 18, 26, 15]


@pytest.mark.parametrize("system", SYSTEMS)
def test_provider(sent: dict[str, Sent], system: str) -> None:
    (provider,) = read(sent[system].image).providers
    assert provider.name == "iscsi"
    assert provider.attributes == (
        "Evolving/Evolving/ISA",
        "Private/Private/Unknown",
        "Private/Private/Unknown",
        "Private/Private/ISA",
        "Evolving/Evolving/ISA",
    )
    assert [p.name for p in provider.probes] == [p.label for p in PROVIDER_PROBES]
    assert len({p.address for p in provider.probes}) == 18


@pytest.mark.parametrize("system", SYSTEMS)
def test_argument_types_and_map(sent: dict[str, Sent], system: str) -> None:
    (provider,) = read(sent[system].image).providers
    for probe, found in zip(PROVIDER_PROBES, provider.probes, strict=True):
        third: tuple[str, ...] = ()
        if probe is Probe.SCSI_COMMAND:
            third = ("uiscsicmd_t *", "scsicmd_t *")
        elif probe in XFER_PROBES:
            third = ("uiscsixfer_t *", "xferinfo_t *")
        assert found.native == ("uiscsiproto_t *", *third[:1])
        assert found.translated == ("conninfo_t *", "iscsiinfo_t *", *third[1:])
        assert found.mapping == ((0, 0, 1) if third else (0, 0))


@pytest.mark.parametrize(
    ("system", "probe_at", "enabled_at"), [("SunOS", 16, 8), ("FreeBSD", 16, 8), ("Linux", 16, 10)]
)
def test_offsets_from_the_probes_address(sent: dict[str, Sent], system: str, probe_at: int, enabled_at: int) -> None:
    (provider,) = read(sent[system].image).providers
    for found, point in zip(provider.probes, sent[system].points, strict=True):
        assert found.address == point.isenabled_addr
        assert (found.offsets, found.enabled_offsets) == ((probe_at,), (enabled_at,))


def test_offsets_of_macos_count_from_the_dof(sent: dict[str, Sent]) -> None:
    macos = sent["Darwin"]
    (provider,) = read(macos.image).providers
    for found, point in zip(provider.probes, macos.points, strict=True):
        assert found.offsets == ((point.probe_addr - macos.address + 2) % 2**32,)
        assert found.enabled_offsets == ((point.isenabled_addr - macos.address + 6) % 2**32,)


@pytest.mark.parametrize("system", ["SunOS", "FreeBSD"])
def test_traps_replace_the_instructions_that_are_meant(sent: dict[str, Sent], system: str) -> None:
    (provider,) = read(sent[system].image).providers
    for found in provider.probes:
        assert sent[system].code(found.address + found.enabled_offsets[0], 3) == b"\x48\x31\xc0"  # xorq %rax, %rax
        assert sent[system].code(found.address + found.offsets[0], 4) == b"\x90" * 4


@pytest.mark.parametrize("system", SYSTEMS)
def test_dof_and_code_are_read_only_and_executable(sent: dict[str, Sent], system: str) -> None:
    made = sent[system]
    (line,) = (line for line in Path("/proc/self/maps").read_text().splitlines() if holds(line, made.address))
    assert line.split()[1] == "r-xp"
    assert made.code(made.address, len(made.image)) == made.image
    assert all(holds(line, point.probe_addr) for point in made.points)


def holds(line: str, address: int) -> bool:
    """Whether a line of /proc/PID/maps is of the mapping that has this address."""
    first, last = (int(part, 16) for part in line.split()[0].split("-"))
    return first <= address < last


def test_linux_maps_a_named_file_with_dof_and_code(tmp_path: Path) -> None:
    needs_libusdt()
    linux = Sent("Linux", tmp_path)
    path = cast(FileMemory, linux.placement.memory).path
    assert path is not None
    try:
        (line,) = (line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(path)))
        assert int(line.split("-")[0], 16) == linux.address
        assert path.read_bytes() == linux.code(linux.address, linux.placement.memory.size)
        for found in read(linux.image).providers[0].probes:
            for offset in (*found.offsets, *found.enabled_offsets):
                assert linux.code(found.address + offset, 2) == b"\x90\xc3"  # nop, ret
    finally:
        linux.close()
    assert not path.exists()


@pytest.mark.parametrize("far", [1 << 31, -(1 << 32), 0x600000000000])
def test_tracepoints_out_of_the_dof_s_reach_are_refused(sent: dict[str, Sent], far: int) -> None:
    """macOS reads a distance as 32 bits with a sign: what is further away would be patched somewhere else."""
    macos = sent["Darwin"]
    points = type(macos.points).from_buffer_copy(macos.points)
    Dof(macos.library, points, macos.address).free()
    points[17].probe_addr += far
    with pytest.raises(ProviderError, match="more than 2 GiB apart"):
        Dof(macos.library, points, macos.address)


@pytest.mark.parametrize("at", [0, 4, 5, 20, 28, 48, 64, 64 + 32])
def test_the_reader_refuses_a_damaged_dof(sent: dict[str, Sent], at: int) -> None:
    image = bytearray(sent["SunOS"].image)
    image[at] ^= 0xFF
    with pytest.raises(DofError):
        read(bytes(image))


def test_freebsd_helper_has_the_pid() -> None:
    helper = registration.freebsd_helper(0x1122334455667788, 4321)
    assert len(helper) == 88
    assert helper[:64].rstrip(b"\0") == b"iscsitools"
    assert helper[64:80] == 0x1122334455667788.to_bytes(8, "little") * 2
    assert helper[80:] == (4321).to_bytes(4, "little") + bytes(4)
