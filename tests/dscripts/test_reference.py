"""The provider's reference: every probe, member, flag and raw argument has its words, and they are the code's own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from iscsitools.cli.provider_page import provider_page
from iscsitools.dtrace.variants import DSCRIPTS, SOURCE
from iscsitools.probes.table import PROVIDER_PROBES, RESERVED_TAG, XFER_PROBES, Probe, info_of
from iscsitools.probes.words import FLAG_NAMES, FLAGS, ISCSIINFO, NATIVE, TYPES, WHEN, in_probe

RECEIVED = {16: {"ITT"}, 20: {"TTT", "Referenced Task Tag"}, 24: {"CmdSN"}, 28: {"ExpStatSN"}, 36: {"DataSN"}}
SENT = {16: {"ITT"}, 20: {"TTT"}, 24: {"StatSN", "StatSN if S, else 0"}, 28: {"ExpCmdSN"},
        36: {"DataSN", "R2TSN", "ExpDataSN"}}  # fmt: skip
"""What the words of a header are called, by their place (RFC 7143 11), in what comes in and in what goes out."""
OF_THE_TASK = {"scsi-response", "data-send", "data-receive", "data-request", "xfer-start", "xfer-done"}
OF_THE_PDU = {"scsi-command", "task-command", "nop-receive", "nop-send", "async-send"}


@pytest.fixture(scope="module")
def page(project: Path) -> str:
    return (project / "docs" / "man" / "iscsi.4.md").read_text()


def library() -> str:
    return (DSCRIPTS / "lib" / SOURCE).read_text()


def test_the_page_is_what_the_code_says(page: str) -> None:
    """If not: make docs."""
    assert provider_page(page) == page


def test_the_page_has_every_part(page: str) -> None:
    parts = re.findall(r"<!-- begin ([\w-]+) -->", page)
    assert sorted(parts) == sorted(
        ["synopsis", "probes", *TYPES, "tags-by-probe", "numbers-by-probe", "rest-by-probe", "flags-by-probe",
         "flag-names", "stability", "native"]
    )  # fmt: skip


@pytest.mark.parametrize("probe", PROVIDER_PROBES)
def test_every_probe_has_its_text(page: str, probe: Probe) -> None:
    assert len(WHEN[probe]) > 20
    assert f"\n- `{probe.label}`: {WHEN[probe]}\n" in page
    assert FLAGS[probe]
    assert page.count(f"\n| {probe.label} | ") == 4  # three tables of numbers, and the flags


@pytest.mark.parametrize("name", TYPES)
def test_every_member_has_its_text(page: str, name: str) -> None:
    """As the D library defines them."""
    found = re.search(rf"typedef struct \w+ \{{\n([^}}]*)\}} {name};", library())
    assert found is not None
    members = re.findall(r"^\t(\w+) (\*?\w+);", found[1], re.M)
    assert [(m.type.rstrip(" *"), "*" * m.type.count("*") + m.name) for m in TYPES[name]] == members
    for kind, member in members:
        assert re.search(rf"^- `{kind} {re.escape(member)}`: \S+", page, re.M)


@pytest.mark.parametrize("probe", PROVIDER_PROBES)
def test_every_number_has_its_meaning_in_every_probe(probe: Probe) -> None:
    numbers = [member.name for member in ISCSIINFO if member.type != "string"]
    words = in_probe(probe)
    assert list(words) == numbers
    assert all(words.values())
    lun = "the task's" if probe.label in OF_THE_TASK else "LUN" if probe.label in OF_THE_PDU else "0"
    assert words["ii_lun"] == lun
    if probe in XFER_PROBES:
        return
    # A header whose every word is its own place: what is read from it has to be what the words name.
    bhs = bytearray(48)
    for at in range(16, 48, 4):
        bhs[at + 3] = at
    bhs[1], bhs[7] = 0x81, 99
    info = info_of(probe, bytes(bhs), 7)
    names = RECEIVED if probe.label.endswith(("-command", "-receive")) else SENT
    for name in numbers[1:6]:
        value = getattr(info, name[3:])
        if value in (0, RESERVED_TAG):
            assert words[name] == ("0" if value == 0 else "ffffffff")
        else:
            assert words[name] in names[value]
    assert (info.datalen == 99) is (words["ii_datalen"] == "its length")
    assert (info.flags == 0x81) is (words["ii_flags"] == "byte 1")


def test_every_flag_has_its_words(page: str) -> None:
    found = re.findall(r"^inline int (ISCSI_\w+) = (0x\w+);", library(), re.M)
    inlines = {name: int(value, 16) for name, value in found}
    assert {name: value for name, (value, _) in FLAG_NAMES.items()} == inlines
    for name, (value, text) in FLAG_NAMES.items():
        assert f"| {name} | 0x{value:02x} | {text} |" in page


def test_every_raw_argument_has_its_place(page: str, project: Path) -> None:
    header = (project / "provider" / "uiscsi.h").read_text()
    for member, offset in re.findall(r"offsetof\(uiscsi\w+_t, (\w+)\) == (\d+)", header):
        assert re.search(rf"\| {offset} \| {member} \|", page)
    for member in re.findall(r"uint\d+_t (ui[pc]_\w+);", header):
        assert f"| {member} | {NATIVE[member]} |" in page


def test_the_stability_is_the_provider_s(page: str) -> None:
    table = page.partition("## STABILITY")[2].partition("<!-- end")[0]
    rows = [
        tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in table.splitlines() if line.startswith("|")
    ]
    assert rows[2:] == [
        ("Provider", "Evolving", "Evolving", "ISA"),
        ("Module", "Private", "Private", "Unknown"),
        ("Function", "Private", "Private", "Unknown"),
        ("Name", "Private", "Private", "ISA"),
        ("Arguments", "Evolving", "Evolving", "ISA"),
    ]
