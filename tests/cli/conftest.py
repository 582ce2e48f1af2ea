from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from iscsitools.cli.main import run


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def iscsitools(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line in this process."""

    def run_here(*arguments: str) -> Result:
        status = run(arguments)
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return run_here
