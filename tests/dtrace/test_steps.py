"""The served target with a real dtrace, in the lab: the D library, the scripts, and what must not hurt the target."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from iscsitools.probes.table import PROVIDER_PROBES

from .reports import quantized, read, rows
from .threads import THREADS

pytestmark = [pytest.mark.slow, pytest.mark.lab]


def lines(folder: Path, name: str) -> list[str]:
    return (folder / name).read_text().splitlines()


def noted(folder: Path, name: str) -> Any:
    return json.loads((folder / f"{name}.json").read_text())


def done(reads: int, writes: int) -> dict[str, int]:
    """What a load does that ends well."""
    return {"reads": reads, "writes": writes, "read_bytes": reads * 4096, "write_bytes": writes * 4096}


def enabled(folder: Path, name: str) -> list[str]:
    """The probes that ``iscsitools probes`` said are enabled."""
    found = [line.split()[:2] for line in lines(folder, name)[1:19]]
    assert [probe for probe, _ in found] == [probe.label for probe in PROVIDER_PROBES]
    return [probe for probe, word in found if word == "yes"]


@pytest.mark.parametrize("name", ["illumos", "illumos-stmf", "freebsd", "macos"])
def test_a_variant_compiles_beside_its_system_s_own_types(evidence: Path, name: str) -> None:
    assert (evidence / f"{name}.compiled.txt").read_text() == "status 0\n"


def test_the_wrong_illumos_variant_is_an_error_as_documented(evidence: Path) -> None:
    found = (evidence / "illumos-duplicate.compiled.txt").read_text()
    # In the file that dtrace reads last: the order is the folder's.
    messages = ('/scsi.d", line 4: type redeclared: struct scsicmd', "type redeclared: struct iscsiinfo")
    assert any(message in found for message in messages)
    missing = (evidence / "illumos-missing.compiled.txt").read_text()
    assert "failed to resolve native type for args[0]" in missing


def test_after_install_plain_dtrace_knows_the_types(evidence: Path) -> None:
    installed, status = lines(evidence, "install.txt")
    found = re.fullmatch(r"installed (/usr/lib/.*/dtrace/iscsitools\.d), the variant linux", installed)
    assert found is not None
    assert status == "status 0"
    assert lines(evidence, "plain.txt") == ["status 0"]
    assert lines(evidence, "uninstall.txt") == [f"removed {found[1]}", "status 0"]


def test_18_probes_with_their_argument_types(evidence: Path) -> None:
    listed = {}
    for block in re.split(r"^ *\d+ +(?=iscsi\d)", (evidence / "listed.txt").read_text(), flags=re.M)[1:]:
        listed[block.split()[3]] = re.findall(r"args\[(\d)\]: (.*)", block)
    thirds = {"scsi-command": "scsicmd_t *", "xfer-start": "xferinfo_t *", "xfer-done": "xferinfo_t *"}
    expected = {probe.label: ["conninfo_t *", "iscsiinfo_t *"] for probe in PROVIDER_PROBES}
    for name, third in thirds.items():
        expected[name].append(third)
    assert listed == {name: [(str(n), t) for n, t in enumerate(types)] for name, types in expected.items()}


def test_run_by_name_before_anything_is_installed(evidence: Path) -> None:
    found = rows((evidence / "run.txt").read_text(), 2)
    assert found["127.0.0.1", "read"][:2] == (11 + 1, 11 * 4)  # the reads, and a READ CAPACITY of 32 bytes
    assert found["127.0.0.1", "write"][:2] == (7, 7 * 4)
    assert noted(evidence, "run") == done(11, 7)
    assert sorted(enabled(evidence, "enabled.txt")) == ["data-receive", "data-send", "scsi-command"]


def test_two_targets_are_two_providers(evidence: Path) -> None:
    names = noted(evidence, "two")
    found = dict(line.split() for line in lines(evidence, "two.txt") if line.startswith("iscsi"))
    # Two Login Requests each: of three loads on the first, of four on the second.
    assert found == {names["first"]: "6", names["second"]: "8"}


def test_one_of_two_targets(evidence: Path) -> None:
    text = (evidence / "one.txt").read_text()
    found = re.findall(r"^   127\.0\.0\.1 +(read|write) +(\d+) +(\d+)$", text, re.M)
    assert sorted(found) == [("read", "32", "1"), ("read", "4096", "3"), ("write", "4096", "2")]


def test_data_threads_fire_with_the_right_arguments(evidence: Path) -> None:
    """Two threads serve two sessions: what they fire adds up to what the initiators sent and received."""
    text = read(evidence, "threads-sums")
    found = noted(evidence, "threads")
    sessions = {name: told for name, told in found.items() if name.startswith("iqn")}
    by_thread = {int(tid): int(count) for tid, count in re.findall(r"^thread (\d+) (\d+)$", text, re.M)}
    assert sum(by_thread.values()) == sum(told["commands"] for told in sessions.values())
    assert len(by_thread.keys() - {found["pid"]}) == THREADS, by_thread
    for name, told in sessions.items():
        sums = {what: int(number) for what, number in re.findall(rf"^(\S+ \S+) {re.escape(name)} (\d+)$", text, re.M)}
        assert sums == told["sums"]
    io = {key: numbers[:2] for key, numbers in rows(read(evidence, "threads-iscsiio"), 2).items()}
    clients = {name: told for name, told in found.items() if name not in {"pid", *sessions}}
    assert io == {
        (client, event): (count, size // 1024)
        for client, told in clients.items()
        for event, (count, size) in told["io"].items()
    }
    for event, title in (("read", "Read Latency (ns),"), ("write", "Write Latency (ns),")):
        assert quantized(read(evidence, "threads-iscsirwlat"), title) == {
            client: told["ended"][event] for client, told in clients.items()
        }


def test_a_target_killed_with_dtrace_attached_hurts_no_other(evidence: Path) -> None:
    assert noted(evidence, "other-killed") == done(5, 3)
    assert (evidence / "two.status").read_text() == "0\n"


def test_a_dtrace_killed_under_load_hurts_no_target(evidence: Path) -> None:
    rounds = noted(evidence, "killed")
    assert rounds["before"] < rounds["killed"] < rounds["after"]


def test_enabling_and_disabling_leaves_the_target_as_it_was(evidence: Path) -> None:
    cycles = noted(evidence, "cycles")
    # dtrace ends a cycle with 0 when it saw a command.
    assert cycles["statuses"]
    assert set(cycles["statuses"]) == {0}
    assert cycles["error"] == ""
    assert cycles["rounds"] > noted(evidence, "killed")["after"]
    before, after = cycles["held"]
    for what, number in before.items():
        assert after[what] - number < len(cycles["statuses"]), f"{what}: more with each cycle"
    assert noted(evidence, "after-cycles") == done(11, 7)
    assert enabled(evidence, "after-cycles.txt") == []
    assert noted(evidence, "first") == 0


def test_the_kernel_s_initiator(evidence: Path) -> None:
    assert "same" in lines(evidence, "open-iscsi.txt")
    found = rows((evidence / "open-iscsi-io.txt").read_text(), 2)
    assert found["127.0.0.1", "write"][1] >= 2048
    assert found["127.0.0.1", "read"][1] >= 2048


def test_no_tracer_and_no_file_is_left(evidence: Path) -> None:
    # One target was killed; the start of the next one cleaned up after it.
    assert noted(evidence, "left") == {"dtrace": 0, "files": 0}
