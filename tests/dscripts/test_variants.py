"""The D library's variants: made from one source, defining what their systems lack, agreeing with the target."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from iscsitools.dtrace.variants import DSCRIPTS, OWN_TYPES, SCSI_TYPES, SOURCE, VARIANTS, Variant, render
from iscsitools.probes.table import PROVIDER_PROBES
from iscsitools.wire.operations import OPERATIONS, SERVICE_ACTIONS

NAMES = [variant.name for variant in VARIANTS]
C_TYPES = {"uiscsiproto_t": 18, "uiscsicmd_t": 2, "uiscsixfer_t": 8}


@pytest.mark.parametrize("variant", VARIANTS, ids=NAMES)
def test_what_is_kept_is_what_the_source_makes(variant: Variant) -> None:
    assert variant.file.read_text() == render((DSCRIPTS / "lib" / SOURCE).read_text(), variant)
    assert [file.name for file in variant.folder.iterdir()] == [variant.file.name]


@pytest.mark.parametrize("variant", VARIANTS, ids=NAMES)
def test_a_variant_defines_what_its_system_has_not(variant: Variant) -> None:
    text = variant.file.read_text()
    defined = re.findall(r"^(?:}|typedef \w+) (\w+);$", text, re.M)
    assert sorted(defined) == sorted(variant.types)
    assert set(OWN_TYPES) <= set(defined)
    needed = {"conninfo_t", *SCSI_TYPES}
    assert set(re.findall(r"^translator (\w+) <", text, re.M)) == needed


def test_only_linux_reads_user_memory_through_a_plain_address() -> None:
    for cast in ("(uint8_t *)*(uint64_t *)copyin(", "stringof((char *)*(uint64_t *)copyin("):
        assert [v.name for v in VARIANTS if cast in v.file.read_text()] == ["linux"]


def test_copyinstr_is_always_told_how_much(project: Path) -> None:
    """With one argument in a translator, DTrace for Linux 2.0.7 uses memory after it freed it (valgrind shows it)."""
    others = (variant.file for variant in VARIANTS if variant.name != "linux")
    for file in (*others, project / "tests" / "dtrace" / "provider.d"):
        text = file.read_text()
        assert text.count("copyinstr(*") >= 8
        assert text.count("copyinstr(*") == len(re.findall(r"copyinstr\(.*&P->uip_\w+, 8\), 256\)", text))


def test_the_library_and_the_target_lay_out_the_same_members(project: Path) -> None:
    source = (DSCRIPTS / "lib" / SOURCE).read_text()
    header = (project / "provider" / "uiscsi.h").read_text()
    for name, count in C_TYPES.items():
        pattern = rf"typedef struct \w+ {{(?:(?!typedef).)*?}} {name};"
        ours, theirs = (
            re.findall(r"(uint\d+_t) (\w+);", re.search(pattern, text, re.S)[0])  # type: ignore[index]
            for text in (source, header)
        )
        assert ours == theirs
        assert len(ours) >= count


@pytest.mark.parametrize("text", ["%if conninfo\n", "%end\n", "%else\n", "%unless conninfo\n%end\n"])
def test_a_directive_that_makes_no_sense_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="source of the D library"):
        render(text, VARIANTS[0])


def test_conditions_nest() -> None:
    variant = Variant("x", "X", frozenset({"a"}))
    source = "%if a\n1\n%if b\n2\n%else\n3 $(title)\n%end\n%else\n4\n%if a\n5\n%end\n%end\n%if !b\n6\n%end\n"
    assert render(source, variant) == "1\n3 X\n6\n"


def scripts() -> list[str]:
    return sorted(file.stem for file in DSCRIPTS.glob("*.d"))


@pytest.mark.parametrize("name", scripts())
def test_every_script_has_its_header_its_twin_and_names_its_probes(name: str) -> None:
    text = (DSCRIPTS / f"{name}.d").read_text()
    assert text.startswith(f"#!/usr/sbin/dtrace -s\n/*\n * {name}.d - ")
    assert f"\n * USAGE: {name}.d" in text
    assert "\n * FIELDS:\n" in text
    assert (DSCRIPTS / "bpftrace" / f"{name}.bt").exists()
    labels = {probe.label for probe in PROVIDER_PROBES}
    used = re.findall(r"iscsi\*:::([\w-]*)", text)
    assert used
    assert set(used) <= labels


@pytest.mark.parametrize(
    ("file", "pattern", "none"),
    [
        ("iscsicmds.d", r'names\[0x(\w\w), (-1|0x\w\w)\] = "(.*)";', "-1"),
        ("bpftrace/iscsicmds.bt", r'@names\[0x(\w\w), (0xffff|0x\w\w)\] = "(.*)";', "0xffff"),
    ],
)
def test_command_names_are_those_of_the_live_trace(file: str, pattern: str, none: str) -> None:
    found = re.findall(pattern, (DSCRIPTS / file).read_text())
    expected = [(f"{code:02x}", none, name) for code, name in OPERATIONS.items()]
    expected += [(f"{code:02x}", f"0x{action:02x}", name) for (code, action), name in SERVICE_ACTIONS.items()]
    assert found == expected
