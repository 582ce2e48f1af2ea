"""The manual pages: one per command, complete, and good roff."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path
from types import ModuleType

import click
import pytest
from support.tools import needs

from iscsitools.cli.main import built_in, load_command
from iscsitools.cli.reference import manual_pages
from iscsitools.trace.views import cmds, io
from iscsitools.trace.views.top.model import TopModel
from iscsitools.trace.views.top.text import batch_lines

WATCHING = ("top", "who", "io", "rwlat", "snoop", "cmds", "size", "seek", "queue", "sessions")
HEADINGS = ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "FIELDS", "OVERHEAD", "EXAMPLES", "SEE ALSO")


@pytest.fixture(scope="module")
def build(project: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_man", project / "packaging" / "man" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(project: Path, command: str) -> str:
    return (project / "docs" / "man" / f"iscsitools-{command}.1.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", built_in())
def test_every_command_has_its_page(project: Path, command: str) -> None:
    text = page(project, command)
    assert text.startswith(f"# iscsitools-{command}(1)\n\n## NAME\n\niscsitools-{command} - ")
    assert f"iscsitools-{command}(1)" in (project / "docs" / "man" / "iscsitools.1.md").read_text()


def test_generated_parts_are_what_the_commands_say(project: Path) -> None:
    """If not: make docs."""
    pages = manual_pages(project / "docs" / "man")
    assert {path: path.exists() and path.read_text() for path in pages} == pages


@pytest.mark.parametrize("command", built_in())
def test_every_page_has_an_example_and_leads_to_others(project: Path, command: str) -> None:
    text = page(project, command)
    example, _, others = text.partition("\n## EXAMPLES\n")[2].partition("\n## SEE ALSO\n")
    assert f"iscsitools {command}" in example
    assert re.findall(r"[\w-]+\(\d\)", others)
    assert f"iscsitools-{command}(1)" not in others


@pytest.mark.parametrize("command", WATCHING)
def test_every_page_has_every_part(project: Path, command: str) -> None:
    found = [line[3:] for line in page(project, command).splitlines() if line.startswith("## ")]
    assert [heading for heading in HEADINGS if heading not in found] == []


@pytest.mark.parametrize("command", built_in())
def test_every_option_is_described(project: Path, command: str) -> None:
    common = (project / "docs" / "watching.md").read_text(encoding="utf-8") if command in WATCHING else ""
    text = page(project, command) + common
    loaded = load_command(command)
    commands = [loaded, *(loaded.commands.values() if isinstance(loaded, click.Group) else ())]
    options = [option for c in commands for p in c.params if isinstance(p, click.Option) for option in p.opts]
    assert [option for option in options if not re.search(rf"^- `(?:-\w, )?{option}\b|`{option}`", text, re.M)] == []


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("io", [column.heading for column in io._COLUMNS]),
        ("cmds", [column.heading for column in cmds._COLUMNS]),
        ("top", batch_lines(TopModel(), "client, target, LUN", "ALL/s")[0].replace("LAST", "LAST MIN").split("  ")),
        ("who", ["REMOTE IP", "iSCSI EVENT", "COUNT"]),
        ("snoop", ["TIME(s)", "CLIENT", "EVENT", "LUN", "ITT", "DETAIL"]),
        ("size", ["value", "Distribution", "count", "COUNT", "p10", "p50", "p90", "p99"]),
        ("seek", ["value", "Distribution", "count", "COUNT", "SEQ%", "p10", "p50", "p90", "p99"]),
        ("queue", ["value", "Distribution", "count", "COUNT", "p10", "p50", "p90", "p99"]),
        ("rwlat", ["value", "Distribution", "count", "BACKSTORE", "WAITING", "SENDING", "TOTAL", "max"]),
    ],
)
def test_every_column_is_a_field(project: Path, command: str, names: list[str]) -> None:
    fields = page(project, command).split("## FIELDS")[1].split("\n## ")[0]
    wanted = [word.strip() for name in names for word in ([name] if command != "top" else name.split(" ")) if word]
    assert [name for name in wanted if name not in fields] == []


@pytest.mark.parametrize("command", WATCHING)
def test_transcripts_fit_80_columns(project: Path, command: str) -> None:
    examples = page(project, command).split("## EXAMPLES")[1].split("\n## ")[0]
    assert [line for line in examples.splitlines() if line[:1] in (" ", "$") and len(line) > 80] == []


def test_pages_are_good_roff(build: ModuleType, project: Path, tmp_path: Path) -> None:
    man = needs("man", "man-db")
    pages = build.build(project / "docs", tmp_path, "1")
    assert len(pages) > len(built_in())
    for path in pages:
        shown = subprocess.run(
            [man, "--warnings", "-E", "UTF-8", "-l", "-Tutf8", str(path)], capture_output=True, text=True, check=True
        )
        assert shown.stderr == ""
        assert path.stem.upper() in shown.stdout


def test_documents_are_manual_pages_too(build: ModuleType, project: Path, tmp_path: Path) -> None:
    """Up to the mark, where what follows is no matter for a manual page."""
    written = {path.name: path.read_text() for path in build.build(project / "docs", tmp_path, "1")}
    for name, section in (("iscsitools-watch", 7), ("iscsitools.toml", 5), ("iscsitools-stacks", 7)):
        text = written[f"{name}.{section}"]
        assert f'.SH "NAME"\n.PP\n{build.escape(name)} ' in text
        assert '.SH "DESCRIPTION"' in text
    assert "urwid" not in written["iscsitools-watch.7"]
    assert "block_size" in written["iscsitools.toml.5"]


def test_transcripts_survive_the_way_to_roff(build: ModuleType) -> None:
    text = "# a-b(1)\n\n## NAME\n\na-b - it\n\n```\n.x 'y' \\n -1\n'z\n```\n"
    name, roff = build.roff("a.md", text, "1")
    assert name == "a-b.1"
    assert ".EX\n\\&.x 'y' \\en \\-1\n\\&'z\n.EE" in roff


@pytest.mark.parametrize(
    "text",
    [
        "no title\n",
        "# a(1)\n\n| table |\n",
        "# a(1)\n\n| a |\n| --- |\n| b | c |\n",
        "# a(1)\n\n1. one\n",
        "# a(1)\n\n```\nopen\n",
    ],
)
def test_what_is_no_page_is_refused(build: ModuleType, text: str) -> None:
    with pytest.raises(build.PageError, match="line"):
        build.roff("a.md", text, "1")


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("- `-a` *B*: c d\n", ".TP\n\\fB\\-a\\fR \\fIB\\fR\nc d\n"),
        ("- `-a`, `--all`: c: d\n", ".TP\n\\fB\\-a\\fR, \\fB\\-\\-all\\fR\nc: d\n"),
        ("- a point: with\n  more\n", ".IP \\(bu 2\na point: with more\n"),
        ("### A b\ntext [link](x.md) <!-- no -->\n", '.SS "A b"\n.PP\ntext link\n'),
        ("| a | b |\n| --- | --- |\n| `c\\|d` | e |\n", "lB lB\nl lx.\na\tb\n\\fBc|d\\fR\tT{\ne\nT}\n.TE\n"),
        ("    .code 'x'\n    y\n", ".EX\n\\&.code 'x'\ny\n.EE\n"),
    ],
)
def test_what_the_pages_are_written_in(build: ModuleType, text: str, made: str) -> None:
    assert build.roff("a.md", f"# a(1)\n\n{text}", "1")[1].endswith(made)
