"""The server of /metrics: its forms, what it refuses, and that nobody holds it."""

from __future__ import annotations

import gzip
import re
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest
from iscsitools.trace import Snapshot, WatchedServer
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from serving import CONFIG, Target, eventually

from iscsitools_prometheus import exporter as exporter_module
from iscsitools_prometheus.web import address_of


def test_its_forms(target: Target) -> None:
    kind, text = target.scrape()
    assert kind.startswith("text/plain; version=0.0.4")
    assert b"# TYPE iscsi_commands_total counter" in text
    kind, text = target.scrape("application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert "iscsi_commands" in {family.name for family in text_string_to_metric_families(text.decode())}
    with pytest.raises(urllib.error.HTTPError, match="404"):
        target.scrape(path="/")


def test_it_is_packed_for_who_takes_that(target: Target) -> None:
    request = urllib.request.Request(f"http://{target.metrics}/metrics", headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert (answer.headers["Content-Encoding"], answer.headers["Vary"]) == ("gzip", "Accept, Accept-Encoding")
        text = gzip.decompress(answer.read())
    assert b"# TYPE iscsi_commands_total counter" in text


def test_every_metric_has_its_line_in_the_readme(target: Target) -> None:
    page = (Path(__file__).parent.parent / "README.md").read_text()
    names = set(re.findall(r"^# TYPE (\S+) ", target.scrape()[1].decode(), re.MULTILINE))
    assert len(names) > 15
    assert {name for name in names if f"| `{name}` |" not in page} == set()
    assert {name for name in re.findall(r"^\| `(iscsi_\w+)` \|", page, re.MULTILINE) if name not in names} == set()
    for option in ("listen", "series"):
        assert f"| `{option}` |" in page


def test_those_who_only_connect_keep_nobody_out(target: Target) -> None:
    host, _, port = target.metrics.partition(":")
    held = [socket.create_connection((host, int(port))) for _ in range(20)]
    try:
        eventually(lambda: held[-1].recv(1) == b"", "the end of the one too many")  # the first eight have a thread
        held[0].setblocking(False)
        with pytest.raises(BlockingIOError):  # and this one has it still: the other was not let go for being slow
            held[0].recv(1)
        for sock in held:
            sock.close()
        assert eventually(lambda: _scraped(target), "a scrape")
    finally:
        for sock in held:
            sock.close()


def _scraped(target: Target) -> bool:
    try:
        return bool(target.scrape()[1])
    except OSError:
        return False


def test_it_ends_with_the_server(tmp_path: Path) -> None:
    target = Target(tmp_path)
    target.scrape()
    assert target.stop() == 0
    with pytest.raises(OSError, match="refused"):
        target.scrape()
    assert "Traceback" not in "".join(target.lines)


@pytest.mark.parametrize(
    ("listen", "complaint"),
    [
        ("9860", "listen is '9860', and has to be ADDRESS:PORT or [IPV6]:PORT"),
        ("127.0.0.1:99999", "listen is '127.0.0.1:99999', and has to be"),
        ("192.0.2.1:9860", "listen 192.0.2.1:9860: Cannot assign requested address"),
        ("no.such.host.invalid:9860", "listen no.such.host.invalid:9860: "),
    ],
)
def test_an_address_that_cannot_be_had_keeps_the_server_from_starting(
    tmp_path: Path, listen: str, complaint: str
) -> None:
    file = tmp_path / "t.toml"
    file.write_text(CONFIG.replace('listen = "127.0.0.1:0"', f'listen = "{listen}"'))
    file.chmod(0o600)
    command = [sys.executable, "-m", "iscsitools", "serve", "--config", str(file)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert process.returncode == 1
    assert process.stderr.startswith(f"iscsitools: plugin prometheus: ValueError: {complaint}")
    assert process.stderr.count("\n") == 1


def test_addresses() -> None:
    assert address_of("127.0.0.1:9860") == ("127.0.0.1", 9860)
    assert address_of("[::1]:0") == ("::1", 0)
    assert address_of("metrics.example:1") == ("metrics.example", 1)


def test_without_listen_nothing_is_exported_and_nothing_is_counted(tmp_path: Path) -> None:
    target = Target(tmp_path, config=CONFIG.replace('listen = "127.0.0.1:0"', ""), exports=False)
    with WatchedServer(socket=tmp_path / "run" / "iscsitools" / "metrics.watch") as server:
        assert server.probes() == []
    assert target.stop() == 0
    assert "metrics are served" not in "".join(target.lines)


def test_what_nobody_scrapes_is_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the server does not keep the sums of closed connections for ever."""
    monkeypatch.setattr(exporter_module, "_READ_SECONDS", 0.01)
    read = threading.Event()

    class Sums:
        def read(self, reset: bool = False) -> Snapshot:
            assert reset
            read.set()
            return Snapshot(0, 1, [], [])

    exporter = exporter_module.Exporter(("127.0.0.1", 0), 10)
    exporter.start(SimpleNamespace(keep_sums=Sums))  # type: ignore[arg-type]
    assert read.wait(60)
    exporter.stop()


def test_the_command_prints_the_files() -> None:
    for name, begin in (("alerts.yml", "# Alert rules"), ("overview.json", "{"), ("latency.json", "{")):
        printed = subprocess.run(
            [sys.executable, "-m", "iscsitools", "prometheus", name], capture_output=True, text=True, check=True
        )
        assert printed.stdout.startswith(begin)
