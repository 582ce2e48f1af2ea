"""docs/ha.md says which test shows what: those tests are there."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[2] / "docs" / "ha.md"


def test_each_row_of_what_may_be_done_names_a_test_that_exists() -> None:
    table = PAGE.read_text().partition("## What each may do without loss")[2]
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith(("| who", "| ---"))]
    assert len(rows) > 15
    for row in rows:
        named = re.search(r"`(test_\w+\.py)`: `(test_\w+)`", row)
        assert named is not None, row
        assert f"\ndef {named[2]}(" in (HERE / named[1]).read_text(), row
