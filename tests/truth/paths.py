"""Which data path a target serves by: the tests of the truth are done over each."""

from __future__ import annotations

import pytest
from support.native import needs_data_path, needs_data_threads

BOTH = ("native", "python")
THREADS = 2
ALL = (*BOTH, "threads")
"""``threads``: the one in C, with data threads."""
NATIVE = ("native", "threads")
"""For what is as true of the one in Python where it is true of that in C: sessions, times, what a recording keeps."""


def chosen(request: pytest.FixtureRequest) -> str:
    """The parameter of a fixture, once it is known that there is such a data path here."""
    path: str = request.param
    if path == "native":
        needs_data_path()
    if path == "threads":
        needs_data_threads()
    return path


def lines(request: pytest.FixtureRequest) -> dict[str, str]:
    """The same as the words of a configuration."""
    path = chosen(request)
    return {"data_path": "native" if path == "threads" else path, "more": f"threads = {_threads(path)}"}


def options(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The same as options of ``iscsitools serve``."""
    path = chosen(request)
    return ("--data-path", "native" if path == "threads" else path, "--threads", str(_threads(path)))


def _threads(path: str) -> int:
    return THREADS if path == "threads" else 1
