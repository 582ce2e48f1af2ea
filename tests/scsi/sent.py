"""A plugin for pytest that writes down which commands each test has sent: as JSON, into the file that SENT names."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from iscsitools.scsi.core.command import Command, CommandTable

_sent: dict[str, set[str]] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Note each command that a CDB was found to be while the test runs."""
    test = item.nodeid.partition("[")[0]
    names = _sent.setdefault(test.removeprefix("tests/scsi/"), set())
    find = CommandTable.find

    def noting(self: CommandTable, cdb: bytes) -> Command:
        command = find(self, cdb)
        names.add(command.name)
        return command

    CommandTable.find = noting  # type: ignore[method-assign]
    try:
        yield
    finally:
        CommandTable.find = find  # type: ignore[method-assign]


def pytest_sessionfinish() -> None:
    """Write it."""
    with open(os.environ["SENT"], "w") as file:
        json.dump({test: sorted(names) for test, names in _sent.items()}, file)
