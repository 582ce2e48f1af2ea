"""docs/durability.md names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path


def test_every_test_that_holds_a_promise_is_there(project: Path) -> None:
    page = (project / "docs" / "durability.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)
    assert len(named) >= 12
    for file, test in named:
        assert re.search(rf"^def {test}\(", (project / file).read_text(), re.MULTILINE), f"{file} has no {test}"
