"""What a real Prometheus has after a known load: exactly that; and every rule and dashboard on that data."""

from __future__ import annotations

import contextlib
import json
import re
import struct
import subprocess
from pathlib import Path

import pytest
from iscsitools.initiator import LoginError, Session
from serving import IQN, Prometheus, Target, alerts, eventually, files, tool

A, B = "iqn.2026-11.example:a", "iqn.2026-11.example:b"
READS, WRITES, BROKEN = 31, 17, 5
UNIT = f'initiator="{A}",target="{IQN}",lun="0"'


def read10(lba: int, blocks: int) -> bytes:
    return struct.pack(">BBIBHB", 0x28, 0, lba, 0, blocks, 0)


def write10(lba: int, blocks: int) -> bytes:
    return struct.pack(">BBIBHB", 0x2A, 0, lba, 0, blocks, 0)


def connect(target: Target, name: str) -> Session:
    session = Session.connect(target.portal, IQN, initiator=name)
    for lun in (0, 7):
        session.command(bytes(6), lun)  # takes the unit attention
    return session


def load(target: Target, a: Session, b: Session) -> None:
    """A prime number of each thing."""
    for number in range(READS):
        assert a.command(read10(number, 8), read=4096).good
    for number in range(WRITES):
        assert a.command(write10(number, 4), write=bytes(2048)).good
    for _ in range(BROKEN):
        assert not b.command(read10(0, 1), 7, read=512).good
    for _ in range(3):
        with pytest.raises(LoginError):
            Session.connect(target.portal, "iqn.2026-11.example:chap", initiator=B, chap=("alice", "wrong horse"))
    with contextlib.ExitStack() as stack, pytest.raises(LoginError, match="0302"):  # noqa: PT012
        for number in range(5):
            stack.enter_context(Session.connect(target.portal, IQN, initiator=A, isid=0x400001370100 + number))


def test_prometheus_has_exactly_what_was_done(target: Target, prometheus: Prometheus) -> None:
    with connect(target, A) as a, connect(target, B) as b:
        eventually(lambda: prometheus.value(f'iscsi_sessions{{initiator="{A}"}}') == 1, "the session's metric")
        eventually(lambda: prometheus.query("iscsi_commands_total"), "the first commands")
        load(target, a, b)
        done = f'iscsi_commands_total{{{UNIT},operation="read"}}'
        eventually(lambda: prometheus.value(done) == READS, "the reads")
        eventually(lambda: prometheus.value('iscsi_limits_reached_total{limit="max_connections"}'), "the limit")
        expected = {
            f'iscsi_commands_total{{{UNIT},operation="write"}}': WRITES,
            f'iscsi_bytes_total{{{UNIT},direction="read"}}': READS * 4096,
            f'iscsi_bytes_total{{{UNIT},direction="write"}}': WRITES * 2048,
            f'iscsi_command_duration_seconds_count{{{UNIT},operation="read"}}': READS,
            f'iscsi_command_duration_seconds_bucket{{{UNIT},operation="write",le="+Inf"}}': WRITES,
            f'iscsi_command_errors_total{{initiator="{B}",lun="7",status="CHECK CONDITION",sense=~"3/.*"}}': BROKEN,
            'iscsi_logins_failed_total{status="authentication failure"}': 3,
            'iscsi_logins_failed_total{status="not found"}': 0,
            f'iscsi_sessions{{initiator="{B}",target="{IQN}"}}': 1,
            f'iscsi_commands_in_flight{{{UNIT}}}': 0,
            'iscsi_lun_info{lun="7"}': 1,
            'iscsi_trace_drops_total{watcher="trace"}': 0,
            "up": 1,
        }  # fmt: skip
        assert {query: prometheus.value(query) for query in expected} == expected
        assert prometheus.value("0 < iscsi_loop_cpu_seconds_total <= iscsi_process_cpu_seconds_total")
        reached = [value for _, value in sorted(
            (float(labels["le"]), value)
            for labels, value in prometheus.query(f'iscsi_command_duration_seconds_bucket{{{UNIT},operation="read"}}')
        )]  # fmt: skip
        assert reached == sorted(reached)
        assert reached[-1] == READS
        _every_dashboard_has_data(prometheus)
        _the_queries_of_the_page_give_something(prometheus)
        _the_alerts_that_fit_fire(prometheus)


def _every_dashboard_has_data(prometheus: Prometheus) -> None:
    """Each query of each panel gives something; the variables' queries too."""
    names = sorted(path.name for path in files().glob("*.json"))
    assert names == ["latency.json", "overview.json"]
    for name in names:
        board = json.loads((files() / name).read_text())
        for panel in board["panels"]:
            for query in panel["targets"]:
                expression = query["expr"].replace("$__rate_interval", "1m")
                for variable in ("instance", "initiator", "target", "lun"):
                    expression = expression.replace(f"${variable}", ".*")
                assert "$" not in expression
                eventually(lambda e=expression: prometheus.query(e), f"{name}: {panel['title']}: {expression}")
        for variable in board["templating"]["list"][1:]:
            metric, label = variable["definition"].removeprefix("label_values(").removesuffix(")").split(", ")
            assert prometheus.ask(f"label/{label}/values", **{"match[]": metric}), variable["name"]


def _the_queries_of_the_page_give_something(prometheus: Prometheus) -> None:
    """Where the plugin stands among the project's files."""
    page = Path(__file__).resolve().parents[3] / "docs" / "metrics.md"
    queries = re.findall(r"^\| [^|`]*\? \| `(.*)` \|$", page.read_text(), re.MULTILINE) if page.exists() else []
    assert len(queries) == (5 if page.exists() else 0)
    for query in queries:
        # increase() needs two samples of a series that began with the load
        eventually(lambda q=query: prometheus.query(q), f"docs/metrics.md: {query}")


def _the_alerts_that_fit_fire(prometheus: Prometheus) -> None:
    """Those without a delay, of what the load did; and none of what it did not."""

    def firing() -> set[str]:
        found = prometheus.ask("alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in found if alert["state"] == "firing"}

    eventually(lambda: firing() == {"IscsiMediumErrors", "IscsiLimitReached"}, "the alerts")


def test_native_histograms(target: Target, tmp_path: Path) -> None:
    prometheus = Prometheus(tool("prometheus"), tmp_path, target.metrics, native=True)
    try:
        with connect(target, A) as session:
            for _ in range(READS):
                assert session.command(read10(0, 8), read=4096).good
            series = f'iscsi_command_duration_seconds{{{UNIT},operation="read"}}'
            eventually(lambda: prometheus.value(f"histogram_count({series})") == READS, "the native histogram")
            # Three bounds that a classic histogram of the same data gives too.
            quick = prometheus.value(f"histogram_quantile(0.01, {series})")
            median = prometheus.value(f"histogram_quantile(0.5, {series})")
            slow = prometheus.value(f"histogram_quantile(1, {series})")
            total = prometheus.value(f"histogram_sum({series})")
            assert quick is not None
            assert median is not None
            assert slow is not None
            assert total is not None
            assert 0 < quick <= median <= slow < 10
            assert slow <= total * 1.1
            assert prometheus.value(f"histogram_fraction(0, 10, {series})") == 1
            assert prometheus.query("iscsi_command_duration_seconds_bucket") == []  # it keeps the native one only
            assert prometheus.value(f'iscsi_bytes_total{{{UNIT},direction="read"}}') == READS * 4096
    finally:
        prometheus.stop()


def test_promtool_finds_nothing_to_say(target: Target) -> None:
    with connect(target, A) as session:
        assert session.command(read10(0, 8), read=4096).good
        _, text = target.scrape()
    subprocess.run([tool("promtool"), "check", "rules", str(alerts())], check=True, capture_output=True)
    checked = subprocess.run([tool("promtool"), "check", "metrics"], input=text, capture_output=True)
    assert (checked.returncode, checked.stderr.decode(), checked.stdout.decode()) == (0, "", "")


def test_the_rules_by_promtool_on_series_of_our_own(tmp_path: Path) -> None:
    series = (Path(__file__).parent / "rules.yml").read_text()
    file = tmp_path / "test.yml"
    file.write_text(series.replace("ALERTS", str(alerts())))
    tested = subprocess.run([tool("promtool"), "test", "rules", str(file)], capture_output=True, text=True)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    for rule in alerts().read_text().split("- alert: ")[1:]:
        assert f"alertname: {rule.split()[0]}\n" in series
