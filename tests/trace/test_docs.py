"""The documents' programs run and print what they say; the documents name every request, probe and field."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from iscsitools.cli.record import command
from iscsitools.probes.subscribers import Xfer
from iscsitools.probes.table import Info, Probe
from iscsitools.trace import Trace, record
from iscsitools.trace.events import ConnectionStrings, Event
from iscsitools.trace.feed.answers import ReaderRequests
from iscsitools.trace.protocol import MAX_REQUEST, ReaderLimits

from .support import READ10, Host, bhs, connection

ALONE = """import os, sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])
from support.alone import hide_others; hide_others(Path(os.environ["XDG_RUNTIME_DIR"]))
"""
"""Before a program: it finds the test's server, and none that happens to run on this machine besides."""


def programs(project: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (project / "docs" / "tracing-api.md").read_text(), re.DOTALL)


def test_the_tool_in_ten_lines(make_host: object, project: Path) -> None:
    now = 1000
    host: Host = make_host(clock=lambda: now)  # type: ignore[operator]
    program = programs(project)[0]
    assert len([line for line in program.splitlines() if line and "import" not in line]) <= 10
    command_line = [sys.executable, "-c", ALONE + program, str(project / "tests")]
    with subprocess.Popen(command_line, stdout=subprocess.PIPE, text=True) as process:
        host.wait_until(lambda: host.probes.mask != 0)
        conn = connection()
        for itt, took in ((1, 999_000), (2, 2_500_000)):
            host.call(
                lambda itt=itt: host.probes.pdu(
                    Probe.SCSI_COMMAND, conn, 4, bhs(1, 0xC0, itt, cdb=READ10), 0, READ10[:10]
                )
            )
            now += took
            host.call(lambda itt=itt: host.probes.pdu(Probe.DATA_SEND, conn, 4, bhs(0x25, 0x81, itt)))
        host.close()
        assert process.stdout is not None
        assert process.stdout.read() == "192.0.2.7:50000 4 28000000100000000800 2500 us\n"
    assert process.returncode == 0


def test_the_sums(host: Host, project: Path) -> None:
    command_line = [sys.executable, "-c", ALONE + programs(project)[1], str(project / "tests")]
    with subprocess.Popen(command_line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        host.wait_until(lambda: host.probes.mask != 0)
        for probe, header in ((6, bhs(1, 0xC0, cdb=READ10)), (8, bhs(0x25, 0x81, length=512))):
            host.call(lambda probe=probe, header=header: host.probes.pdu(probe, connection(), 4, header, 0, READ10))
        output, _ = process.communicate("\n")
    assert re.fullmatch(r"Enter ends the measurement 192\.0\.2\.7:50000 4 0x28 1 \d+ ns\n", output)


def test_every_public_part_of_a_trace_is_described(project: Path) -> None:
    text = (project / "docs" / "tracing-api.md").read_text()
    members = [*vars(Trace), *vars(Trace("x"))]
    missing = [m for m in members if not m.startswith("_") and f"`{m}" not in text and m != "position"]
    assert not [m for m in missing if m not in ("take_strings",)]


def test_every_field_of_an_event_is_described(project: Path) -> None:
    text = (project / "docs" / "tracing-api.md").read_text()
    fields = [*Event._fields, *ConnectionStrings.__slots__, *Info._fields, *Xfer._fields]  # type: ignore[attr-defined]
    assert [name for name in fields if f"`{name}`" not in text] == []


@pytest.mark.parametrize("probe", Probe)
def test_every_event_has_its_number(project: Path, probe: Probe) -> None:
    assert f"| {probe.value} {probe.label} |" in (project / "docs" / "trace-protocol.md").read_text()


def test_requests_and_limits(project: Path) -> None:
    text = (project / "docs" / "trace-protocol.md").read_text()
    names = re.findall(
        r'^            "(\w+)": ', Path(sys.modules[ReaderRequests.__module__].__file__ or "").read_text(), re.M
    )
    assert len(names) == 8
    assert [name for name in names if f"| `{name}` |" not in text] == []
    limits = ReaderLimits()
    for words in (
        f"{limits.readers} readers",
        f"{limits.ring_bytes >> 20} MiB for one ring",
        f"{limits.total_bytes >> 20} MiB for all",
        f"{limits.backlog_bytes >> 20} MiB of answers",
        f"Above {limits.units_per_second} units",
        f"or {limits.units_of_all} of all",
        f"for {limits.stall_seconds:g} s",
        f"longer than {MAX_REQUEST} bytes",
        f"version {record.VERSION}",
        f"A record is {record.SIZE} bytes",
    ):
        assert words in text, words


def test_the_manual_page_of_record_has_every_option(project: Path) -> None:
    page = (project / "docs" / "man" / "iscsitools-record.1.md").read_text()
    names = [name for parameter in command.params for name in parameter.opts if name.startswith("-")]
    assert [name for name in names if f"`{name}`" not in page] == []
