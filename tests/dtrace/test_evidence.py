"""The served target with a real dtrace, in the lab: the D library, the scripts, and what must not hurt the target."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from iscsitools.probes.table import PROVIDER_PROBES

from .reports import rows

pytestmark = [pytest.mark.slow, pytest.mark.lab]


def lines(folder: Path, name: str) -> list[str]:
    return (folder / name).read_text().splitlines()


def served(folder: Path, name: str, reads: int, writes: int) -> None:
    """A load on the target ended well, and no byte was missing."""
    text = (folder / f"{name}.load").read_text()
    report: dict[str, Any] = json.loads(text.removesuffix("status 0\n"))
    sizes = {"read_bytes": reads * 4096, "write_bytes": writes * 4096}
    assert report["done"] == {"reads": reads, "writes": writes} | sizes


@pytest.mark.parametrize("name", ["illumos", "illumos-stmf", "freebsd", "macos"])
def test_a_variant_compiles_beside_its_system_s_own_types(evidence: Path, name: str) -> None:
    assert (evidence / f"{name}.compiled").read_text() == "status 0\n"


def test_the_wrong_illumos_variant_is_an_error_as_documented(evidence: Path) -> None:
    assert "type redeclared: struct scsicmd" in (evidence / "illumos-duplicate.compiled").read_text()
    assert re.search("failed to resolve .* type for args", (evidence / "illumos-missing.compiled").read_text())


def test_after_install_plain_dtrace_knows_the_types(evidence: Path) -> None:
    installed, status, removed = lines(evidence, "install.txt")
    assert re.fullmatch(r"installed /usr/lib/.*/dtrace/iscsitools\.d, the variant linux", installed)
    assert status == "status 0"
    assert removed.startswith("removed ")
    assert lines(evidence, "plain.txt") == ["status 0"]


def test_18_probes_with_their_argument_types(evidence: Path) -> None:
    listed = {}
    for block in re.split(r"^ *\d+ +(?=iscsi\d)", (evidence / "listed.txt").read_text(), flags=re.M)[1:]:
        listed[block.split()[3]] = re.findall(r"args\[(\d)\]: (.*)", block)
    thirds = {"scsi-command": "scsicmd_t *", "xfer-start": "xferinfo_t *", "xfer-done": "xferinfo_t *"}
    expected = {probe.label: ["conninfo_t *", "iscsiinfo_t *"] for probe in PROVIDER_PROBES}
    for name, third in thirds.items():
        expected[name].append(third)
    assert listed == {name: [(str(n), t) for n, t in enumerate(types)] for name, types in expected.items()}


def test_run_by_name_with_the_installed_library(evidence: Path) -> None:
    found = rows((evidence / "run.txt").read_text(), 2)
    assert found["127.0.0.1", "data-send"] == (11 + 1 + 2,)  # reads of both loads, and one READ CAPACITY each
    served(evidence, "run", 11, 7)


def test_two_targets_are_two_providers(evidence: Path) -> None:
    first, second = lines(evidence, "two.pids")[0].split()[1:]
    found = dict(line.split() for line in lines(evidence, "two.txt") if line.startswith("iscsi"))
    # Two Login Requests each: three loads on the first, four on the second.
    assert found == {f"iscsi{first}": "6", f"iscsi{second}": "8"}


def test_one_of_two_targets(evidence: Path) -> None:
    found = rows((evidence / "one.txt").read_text(), 2)
    assert found["127.0.0.1", "login-command"] == (4,)
    assert found["127.0.0.1", "nop-receive"] == (2,)


def test_a_target_killed_with_dtrace_attached_hurts_no_other(evidence: Path) -> None:
    served(evidence, "other-killed", 5, 3)


def test_a_dtrace_killed_under_load_hurts_no_target(evidence: Path) -> None:
    served(evidence, "tracer-killed", 20000, 20000)


def test_enabling_and_disabling_leaves_the_target_as_it_was(evidence: Path) -> None:
    assert int((evidence / "cycles.txt").read_text()) > 0
    served(evidence, "after-cycles", 11, 7)
    enabled = [line.split()[1] for line in lines(evidence, "after-cycles.probes")[1:19]]
    assert enabled == ["no"] * 18
    assert (evidence / "first.status").read_text() == "0\n"


def test_the_kernel_s_initiator(evidence: Path) -> None:
    assert "same" in lines(evidence, "open-iscsi.txt")
    found = rows((evidence / "open-iscsi.io").read_text(), 2)
    assert found["127.0.0.1", "write"][1] >= 2048
    assert found["127.0.0.1", "read"][1] >= 2048


def test_no_tracer_is_left(evidence: Path) -> None:
    assert (evidence / "left.txt").read_text() == "0\n"
