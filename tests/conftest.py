"""Fixtures that every test may use; ``from support.tools import needs`` for outside programs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from support.alone import hide_others

from iscsitools.server.log_queue import LogQueue

# How long an example takes says something of the machine and its load, not of the code.
settings.register_profile("iscsitools", deadline=None)
settings.load_profile("iscsitools")


@pytest.fixture(autouse=True)
def _own_directories(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test away from the user's own data, configuration and running servers."""
    home = tmp_path_factory.mktemp("home")
    for variable in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
        directory = home / variable.lower()
        directory.mkdir(mode=0o700)
        monkeypatch.setenv(variable, str(directory))
    monkeypatch.setenv("HOME", str(home))
    hide_others(home, monkeypatch.setattr)


@pytest.fixture(autouse=True)
def _own_log_handlers() -> Iterator[None]:
    """Take away the handlers that a command, run in this process, gave to the log: their streams end with the test."""
    before = set(logging.root.handlers)
    yield
    for handler in set(logging.root.handlers) - before:
        if type(handler) is logging.StreamHandler or isinstance(handler, LogQueue):
            logging.root.removeHandler(handler)
            handler.close()


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's top folder."""
    return Path(__file__).resolve().parent.parent
