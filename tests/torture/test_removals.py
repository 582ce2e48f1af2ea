"""The removals still fit the code; ``make torture`` tries them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .removals import REMOVALS, Removal


@pytest.mark.parametrize("removal", REMOVALS, ids=lambda removal: removal.name)
def test_a_removal_fits(removal: Removal, project: Path) -> None:
    assert removal.old in (project / removal.file).read_text()
    file, _, test = removal.test.partition("::")
    assert re.search(rf"^def {test}\(", (project / file).read_text(), re.MULTILINE)
