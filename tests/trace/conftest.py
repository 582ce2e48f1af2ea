from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.native import needs_data_path

from iscsitools.server import data_path
from iscsitools.trace.protocol import ReaderLimits

from .support import Host


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    directory = tmp_path / "run" / "iscsitools"
    directory.mkdir(mode=0o700, parents=True)
    return directory


@pytest.fixture(params=["python", "native"])
def twin(request: pytest.FixtureRequest) -> ModuleType | None:
    """Who writes records and keeps sums: Python (None), or the module of the data path in C."""
    return None if request.param == "python" else data_path.tracers_of(needs_data_path())


@pytest.fixture
def make_host(run_dir: Path, twin: ModuleType | None) -> Iterator[Callable[..., Host]]:
    hosts: list[Host] = []

    def make(**options: Any) -> Host:
        hosts.append(Host(run_dir, **{"tracers": twin, **options}))
        return hosts[-1]

    yield make
    for host in hosts:
        host.close()


@pytest.fixture
def host(make_host: Callable[..., Host]) -> Host:
    return make_host()


@pytest.fixture
def victim(make_host: Callable[..., Host]) -> Host:
    """A server with little to give, and little patience."""
    return make_host(limits=ReaderLimits(readers=8, ring_bytes=1 << 20, total_bytes=2 << 20, stall_seconds=0.05))
