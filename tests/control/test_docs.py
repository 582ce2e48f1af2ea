"""docs/control.md is true: every example prints what it says, every request, field, kind and code is there."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

from server.harness import running

from iscsitools.control import Code, Control
from iscsitools.control.plan import ChangeKind
from iscsitools.control.protocol import REQUESTS

_EXAMPLE = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", re.DOTALL)


def test_every_example_prints_what_the_page_says(project: Path, tmp_path: Path) -> None:
    text = 'name = "disks"\n[[target]]\niqn = "iqn.2026-11.example:disks"\nlun = [{ store = "ram:1M" }]\n'
    names: dict[str, object] = {}
    with running(tmp_path, text):
        for code, printed in _EXAMPLE.findall((project / "docs" / "control.md").read_text()):
            out = io.StringIO()
            with redirect_stdout(out):
                exec(compile(code, "docs/control.md", "exec"), names)
            assert out.getvalue() == printed, code


def test_every_call_has_its_example(project: Path) -> None:
    page = (project / "docs" / "control.md").read_text()
    code = "".join(example for example, _ in _EXAMPLE.findall(page))
    calls = [name for name in dir(Control) if not name.startswith("_")]
    assert [name for name in calls if f".{name}(" not in code] == []


def test_every_word_of_the_protocol_is_explained(project: Path) -> None:
    page = (project / "docs" / "control.md").read_text().partition("## The protocol")[2]
    fields = {field for request in REQUESTS.values() for field in request}
    words = {*REQUESTS, *fields, *map(str, ChangeKind), *map(str, Code)}
    assert sorted(word for word in words if f"`{word}`" not in page) == []
