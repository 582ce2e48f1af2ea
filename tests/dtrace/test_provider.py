"""The provider with a real dtrace, in the lab: known events, and every member of what dtrace sees of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from provider.dofreader import read

from iscsitools.probes.table import PROVIDER_PROBES, XFER_PROBES, Probe, info_of

from . import fire

pytestmark = [pytest.mark.slow, pytest.mark.lab]


@pytest.fixture(scope="module")
def out(evidence: Path) -> Path:
    """What provider.sh wrote in the guest."""
    return evidence / "provider"


def test_dtrace_lists_what_the_dof_says(out: Path) -> None:
    (provider,) = read((out / "sent.dof").read_bytes()).providers
    pid = re.search(r"^pid (\d+)", (out / "fired.txt").read_text(), re.M)
    assert pid is not None
    listed = {}
    for block in re.split(r"^ *\d+ +(?=iscsi)", (out / "types.txt").read_text(), flags=re.M)[1:]:
        name, module, function, probe = block.splitlines()[0].split()
        assert (name, module) == (f"iscsi{pid[1]}", "iscsitools")
        listed[probe] = (function, tuple(re.findall(r"args\[\d\]: (.*)", block)))
    assert listed == {p.name: (p.function, p.translated) for p in provider.probes}
    assert len(listed) == 18


def blocks() -> Iterator[str]:
    """What provider.d prints of each event that fire.py fires."""
    conn = fire.CONNECTION
    for probe in PROVIDER_PROBES:
        if probe in XFER_PROBES:
            x = fire.xfer(probe)
            numbers: tuple[int, ...] = (fire.LUN, x.itt, x.ttt, 0, 0, 0, 0, 0)
            third = f"\nxfer {x.laddr} {x.loffset} 0 0 0 0 {x.length} {x.type}"
        else:
            numbers = info_of(probe, fire.bhs(probe), fire.LUN)
            third = ""
            if probe is Probe.SCSI_COMMAND:
                third = f"\ncommand {len(fire.CDB)} {fire.CDB[0]} {fire.CDB[9]} {fire.CDB[0]}"
        block = (
            f"{probe.label}\nci_local {conn.local}\nci_remote {conn.remote}\nci_protocol {conn.protocol}\n"
            f"ii_target {conn.target}\nii_initiator {conn.initiator}\nii_isid {conn.isid}\nii_tsih {conn.tsih}\n"
            f"ii_transport {conn.transport}\nnumbers {' '.join(map(str, numbers))}{third}"
        )
        yield from [block] * (probe + 1)


def test_every_member_of_every_argument_of_every_event(out: Path) -> None:
    seen = [block.strip() for block in (out / "events.txt").read_text().split("event ")[1:]]
    assert sorted(seen) == sorted(blocks())
    assert (out / "events.status").read_text() == "0\n"


def test_the_target_sees_that_dtrace_is_gone(out: Path) -> None:
    assert "left enabled 0x0" in (out / "fired.txt").read_text()
    assert (out / "files.txt").read_text() == ""


def test_two_targets_have_a_provider_each(out: Path) -> None:
    pids, *lines = (out / "two.txt").read_text().splitlines()
    assert sorted(line.split() for line in lines) == sorted(["18", f"iscsi{pid}"] for pid in pids.split()[1:])


def test_the_next_start_cleans_up_after_a_killed_target(out: Path) -> None:
    # One file is left by the killed one; the next start has its own only; after its end there is none.
    assert (out / "killed.txt").read_text().split() == ["1", "1", "0"]


def test_providers_are_gone_at_exit(out: Path) -> None:
    assert "iscsi" not in re.sub(r"iscsi\*", "", (out / "gone.txt").read_text())
