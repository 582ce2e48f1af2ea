"""Which data path a target serves by: the tests of the truth are done over each."""

from __future__ import annotations

import sys

import pytest
from support.native import needs_data_path

BOTH = ("native", "python")
THREADS = 2
ALL = (*BOTH, "threads")
"""``threads``: the one in C, with data threads."""


def chosen(request: pytest.FixtureRequest) -> str:
    """The parameter of a fixture, once it is known that there is such a data path here."""
    path: str = request.param
    if path == "native":
        needs_data_path()
    if path == "threads":
        if sys.platform != "linux":
            pytest.skip("data threads need epoll")
        needs_data_path()
    return path


def lines(request: pytest.FixtureRequest) -> dict[str, str]:
    """The same as the words of a configuration."""
    path = chosen(request)
    if path == "threads":
        return {"data_path": "native", "more": f"threads = {THREADS}"}
    return {"data_path": path, "more": ""}


def options(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The same as options of ``iscsitools serve``."""
    path = chosen(request)
    return ("--data-path", "native", "--threads", str(THREADS)) if path == "threads" else ("--data-path", path)
