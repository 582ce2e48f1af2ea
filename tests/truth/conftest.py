"""A target for the tests of the provider's rules, and company for the reader that they attach."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.target import RunningTarget, start_target

from iscsitools.trace import attach

from . import paths
from .commands import watch_socket
from .rules import FAR, FILE, QUICK, SLOW, TARGET


@pytest.fixture(scope="module", params=paths.ALL)
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTarget]:
    directory = tmp_path_factory.mktemp("rules")
    luns = {
        QUICK: "ram:8M",
        SLOW: "ram+delay:8M,delay.read=300ms,delay.write=300ms",
        FAR: "ram:1M",
        FILE: f"file:{directory / 'disk'},size=8M",
    }
    options = [part for number, what in luns.items() for part in ("--lun", f"{number}={what}")]
    with start_target(
        directory, *paths.options(request), "--iqn", TARGET, *options, portals=("127.0.0.1:0", "[::1]:0")
    ) as running:
        yield running


@pytest.fixture(params=["alone", "beside another"])
def company(request: pytest.FixtureRequest, target: RunningTarget) -> Iterator[None]:
    """Whether somebody else reads the same events: call sites may take other ways then."""
    if paths.chosen(request) == "alone":
        yield
    else:
        with attach(socket=watch_socket(target)):
            yield
