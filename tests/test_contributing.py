"""CONTRIBUTING and SECURITY stay true: each file and make target that they name is there, and README links them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
PAGES = ("CONTRIBUTING.md", "SECURITY.md")
ASKED = ("a text key", "a SCSI command", "a probe", "a limit")


def text(page: str) -> str:
    return (PROJECT / page).read_text()


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page: str) -> None:
    quoted = {name for name in re.findall(r"`([\w./-]+)`", text(page)) if "/" in name}
    linked = {link.partition("#")[0] for link in re.findall(r"\]\(([\w./#-]+)\)", text(page))}
    assert quoted | linked
    assert sorted(name for name in quoted | linked if not (PROJECT / name).exists()) == []


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_headings(page: str) -> None:
    for target, heading in re.findall(r"\]\(([\w./-]+)#([\w-]+)\)", text(page)):
        headings = re.findall(r"^#+ (.*)$", text(target), re.MULTILINE)
        assert heading in {re.sub(r"[^\w -]", "", line).lower().replace(" ", "-") for line in headings}


def test_every_make_target_that_is_named_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", text("Makefile"), re.MULTILINE))
    named = {name for page in (*PAGES, "README.md") for name in re.findall(r"make ([a-z-]+)", text(page))}
    code = {name for page in PAGES for name in re.findall(r"`make ([a-z-]+)", text(page))}
    assert code <= targets
    assert {"run", "test", "check", "fresh", "lab", "mutants"} <= named & targets


def test_make_installs_extras_that_there_are() -> None:
    """pip only warns of one that is missing, and then the target's program is not there."""
    extras = tomllib.loads(text("pyproject.toml"))["project"]["optional-dependencies"]
    named = {name for words in re.findall(r"'\.\[([\w,-]+)\]'", text("Makefile")) for name in words.split(",")}
    assert "test" in named
    assert named <= set(extras)


def test_a_stranger_finds_the_place() -> None:
    rows = dict(re.findall(r"^\| (an? [\w ]+?) \| (.*?) \|", text("CONTRIBUTING.md"), re.MULTILINE))
    assert [what for what in ASKED if "`iscsitools/" not in rows.get(what, "")] == []


def test_readme_leads_here() -> None:
    linked = set(re.findall(r"^\[.*\]: .*/blob/main/(.*)$", text("README.md"), re.MULTILINE))
    assert linked >= {*PAGES, "CHANGELOG.md", "LICENSE"}


def test_types_are_shipped() -> None:
    assert (PROJECT / "iscsitools" / "py.typed").exists()
    assert '"py.typed"' in text("setup.py")
