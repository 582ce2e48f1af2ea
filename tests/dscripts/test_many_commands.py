"""More commands with a task tag of their own than a map of bpftrace has entries: what a script keeps, it lets go of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from dtrace import scene
from dtrace.reports import maps, read
from support.tools import missing, needs

from iscsitools.dtrace.variants import DSCRIPTS
from iscsitools.initiator import Plan, Session, run_load
from iscsitools.provider.backend import attach_path, survey

pytestmark = pytest.mark.slow
COMMANDS = 3000
"""Of reads and of writes; bpftrace's maps have 4096 entries."""
SCRIPTS = ("iscsirwlat", "iscsirwtime", "iscsiphases")


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts' reports on one session's reads and writes."""
    program = needs("bpftrace", "bpftrace")
    if os.geteuid():
        missing("bpftrace needs root")
    if reason := next(backend.reason for backend in survey() if backend.name == "sdt"):
        missing(reason)
    out = tmp_path_factory.mktemp("many")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(out))
        target, ports = scene.serve(out)
        tracers = {}
        try:
            for name in SCRIPTS:
                script = str(DSCRIPTS / "bpftrace" / f"{name}.bt")
                words = [program, "-p", str(target.pid), script, str(attach_path())]
                tracers[name] = scene.start(out, name, words)
                scene.ready(out, name, tracers[name])
            scene.wake(ports)
            with Session.connect(("127.0.0.1", ports["127.0.0.1"]), scene.TARGET) as session:
                run_load(session, Plan(reads=COMMANDS, writes=COMMANDS, depth=16, way="solicited"))
                session.logout()
            scene.stop(out, tracers)
        finally:
            for process in (target, *tracers.values()):
                process.kill()
                process.wait()
    return out


@pytest.mark.parametrize(
    ("name", "maps_of_reads", "maps_of_writes"),
    [
        ("iscsirwlat", ["read_ns"], ["write_ns"]),
        ("iscsirwtime", ["read_ns"], ["write_ns"]),
        ("iscsiphases", ["reads_backstore_ns", "reads_sending_ns"], ["writes_backstore_ns", "writes_waiting_ns"]),
    ],
)
def test_every_command_counts(reports: Path, name: str, maps_of_reads: list[str], maps_of_writes: list[str]) -> None:
    found = maps(read(reports, name))
    for map_name in (*maps_of_reads, *maps_of_writes):
        assert sum(found[map_name].values()) >= COMMANDS, map_name
