"""Which data path a target serves by: the tests of the truth are done over each."""

from __future__ import annotations

import pytest
from support.native import needs_data_path

BOTH = ("native", "python")


def chosen(request: pytest.FixtureRequest) -> str:
    """The parameter of a fixture, once it is known that there is such a data path here."""
    path: str = request.param
    if path == "native":
        needs_data_path()
    return path
