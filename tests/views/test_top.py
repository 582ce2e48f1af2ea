"""``top`` without its screen: rates, groups, order, graphs, and the text of a row."""

from __future__ import annotations

from typing import Any

import pytest

from iscsitools.trace.selection import Selection
from iscsitools.trace.sums.histogram import index_of
from iscsitools.trace.sums.snapshot import Snapshot
from iscsitools.trace.views.top.columns import duration, number
from iscsitools.trace.views.top.model import GROUPS, Counters, Cpu, RowKey, Sample, TopModel
from iscsitools.trace.views.top.samples import sample_of
from iscsitools.trace.views.top.text import (
    Layout,
    batch_lines,
    server_text,
    sorted_rows,
    sparkline,
)

SECOND = 1_000_000_000
A = RowKey("demo", "192.0.2.7", "iqn.2026-11.example:disks", 0)
B = RowKey("demo", "192.0.2.8", "iqn.2026-11.example:disks", 1)


def sample(second: int, reads: dict[RowKey, int], **more: object) -> Sample:
    rows = {
        key: Counters(n, 0, n * 4096, 0, n, n * 100_000, 0, {index_of(100_000): n}) for key, n in reads.items() if n
    }
    return Sample((second - 1) * SECOND, second * SECOND, rows, **more)  # type: ignore[arg-type]


def test_rates_are_of_the_last_interval() -> None:
    model = TopModel()
    model.update("demo", sample(1, {A: 1000}))
    model.update("demo", sample(2, {A: 50}))
    (row,) = model.rows()
    assert (row.reads, row.read_kb, row.average) == (50.0, 200.0, 100_000.0)
    assert row.p99 == pytest.approx(100_000, rel=0.125)
    assert row.graph == [0.0] * 58 + [1000.0, 50.0]


def test_graph_is_by_time_whatever_the_interval() -> None:
    model = TopModel()
    counters = Counters(reads=300)
    for since, end in ((0.0, 10.0), (10.0, 10.5), (10.5, 12.0)):
        model.update("demo", Sample(int(since * SECOND), int(end * SECOND), {A: counters}))
    (row,) = model.rows()
    # 30/s for ten seconds; 600/s for half a second and 200/s for the other half; 200/s
    assert row.graph == pytest.approx([0.0] * 48 + [30.0] * 10 + [400.0, 200.0])


@pytest.mark.parametrize(
    ("filters", "seen"),
    [
        ({}, {A: 5, B: 2}),
        ({"client": "192.0.2.7"}, {A: 5}),
        ({"client": "192.0.2.8:40001"}, {B: 2}),
        ({"client": "iqn.2026-11.example:b"}, {B: 2}),
        ({"target": "iqn.2026-11.example:others"}, {}),
        ({"lun": 1}, {B: 2}),
    ],
)
def test_what_is_under_way_is_filtered_too(filters: dict[str, Any], seen: dict[RowKey, int]) -> None:
    def entry(key: RowKey, initiator: str, commands: int) -> dict[str, object]:
        whose = {"remote": f"{key.client}:40001", "initiator": initiator, "target": key.target, "lun": key.lun}
        return {**whose, "commands": commands}

    names = "iqn.2026-11.example:a", "iqn.2026-11.example:b"
    status = {"in_flight": [entry(A, names[0], 3), entry(B, names[1], 2), entry(A, names[0], 2)]}
    taken = sample_of("demo", Snapshot(0, SECOND, [], [], status=status), Selection(**filters))
    assert taken.in_flight == seen


def test_an_idle_row_stays_for_a_minute() -> None:
    model = TopModel()
    for second in range(1, 61):
        model.update("demo", sample(second, {A: 5} if second == 1 else {}))
    assert len(model.rows()) == 1
    model.update("demo", sample(61, {}))
    assert model.rows() == []


def test_commands_that_only_fail_have_a_row() -> None:
    """TEST UNIT READY, for one, neither reads nor writes."""
    model = TopModel()
    model.update("demo", Sample(0, SECOND, {A: Counters(errors=3)}))
    for second in range(2, 61):
        model.update("demo", sample(second, {B: 0}))
    assert [(row.key[0], row.errors) for row in model.rows()] == [(A.client, 3)]
    model.update("demo", sample(61, {}))
    assert model.rows() == []


def test_a_row_with_commands_under_way_stays() -> None:
    model = TopModel()
    for second in range(1, 100):
        model.update("demo", sample(second, {}, in_flight={A: 2}))
    assert [row.in_flight for row in model.rows()] == [2]


@pytest.mark.parametrize(("group", "keys"), [
    ("client, target, LUN", [("192.0.2.7", A.target, "0"), ("192.0.2.8", A.target, "1")]),
    ("client", [("192.0.2.7",), ("192.0.2.8",)]),
    ("target", [(A.target,)]),
    ("target, LUN", [(A.target, "0"), (A.target, "1")]),
    ("server", [("demo",)]),
])  # fmt: skip
def test_groups(group: str, keys: list[tuple[str, ...]]) -> None:
    model = TopModel()
    model.update("demo", sample(1, {A: 3, B: 4}))
    rows = model.rows(group)
    assert [row.key for row in rows] == keys
    assert sum(row.reads for row in rows) == model.total().reads == 7


def test_filter_is_of_server_client_target_and_lun() -> None:
    model = TopModel()
    model.update("demo", sample(1, {A: 3, B: 4}))
    assert [row.key[0] for row in model.rows("client", "0.2.8")] == ["192.0.2.8"]
    assert len(model.rows("client", "DISKS")) == 2
    assert model.total("0.2.8").reads == 4


def test_order() -> None:
    model = TopModel()
    model.update("demo", sample(1, {A: 3, B: 4}))
    assert [r.key[0] for r in sorted_rows(model.rows("client"), "R/s", False)] == ["192.0.2.8", "192.0.2.7"]
    assert [r.key[0] for r in sorted_rows(model.rows("client"), "R/s", True)] == ["192.0.2.7", "192.0.2.8"]


def test_two_servers_add_up_and_one_that_goes_is_said_to_be_gone() -> None:
    model = TopModel()
    other = A._replace(server="other")
    model.update("demo", sample(1, {A: 3}, sessions=1, cpu=Cpu(10**9, 1.0)))
    model.update("demo", sample(2, {A: 3}, sessions=1, cpu=Cpu(2 * 10**9, 1.5)))
    model.update("other", sample(9, {other: 5}, sessions=2))
    assert model.total().reads == 8
    assert [server_text(s) for s in model.servers()] == [
        "demo: 1 session, CPU 50%, 0 drops", "other: 2 sessions, CPU -, 0 drops",
    ]  # fmt: skip
    model.update("demo", None)
    assert model.total().reads == 5
    assert server_text(model.servers()[0]) == "demo: gone"


@pytest.mark.parametrize(("value", "text"), [
    (0, "0"), (99_999, "99999"), (100_000, "100K"), (1_234_567, "1.2M"), (9_960, "9960"), (999_600, "1.0M"),
    (56_000_000, "56M"), (1.5e9, "1.5G"),
])  # fmt: skip
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(("nanoseconds", "text"), [
    (0, "-"), (900, "0.9us"), (87_000, "87us"), (999_600, "1.0ms"), (350e6, "350ms"), (2.1e9, "2.1s"), (70e9, "70s"),
])  # fmt: skip
def test_durations(nanoseconds: float, text: str) -> None:
    assert duration(nanoseconds) == text


def test_graph_is_scaled_to_its_own_highest() -> None:
    assert sparkline([0, 50, 100], 5) == "   ▄█"
    assert sparkline([0, 50, 100], 5, ascii_only=True) == "   =@"
    assert sparkline([1, 1, 9, 9], 2) == "▁█"
    assert sparkline([], 4) == "    "


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("width", [80, 100, 132, 200])
def test_lines_have_the_screens_width(group: str, width: int) -> None:
    model = TopModel()
    for second in range(1, 60):
        model.update("demo", sample(second, {A: 123_456 * second, B: 4}))
    layout = Layout(group, width)
    lines = [layout.line(row) for row in model.rows(group)] + [layout.total(model.total()), layout.header("R/s")]
    assert all(len(line) <= width for line in lines)


def test_a_long_client_gets_its_room_before_the_target_and_the_graph() -> None:
    address = "2001:db8:1111:2222:3333:4444:5555:6666"
    model = TopModel()
    model.update("demo", sample(1, {A._replace(client=address): 4, B: 3}))

    def keys(width: int) -> list[list[str]]:
        return [line.split()[:2] for line in batch_lines(model, "client, target, LUN", "R/s", width)[2:4]]

    assert keys(80) == [["..444:5555:6666", "disks"], ["192.0.2.8", "disks"]]
    assert keys(132) == [[address, "disks"], ["192.0.2.8", "disks"]]


@pytest.mark.parametrize(("value", "width", "text"), [
    (999, 3, "999"), (1000, 3, "1K"), (99_499, 3, "99K"), (123_456, 3, ".1M"), (960_000, 3, "1M"), (9999, 4, "9999"),
    (9999.6, 4, "10K"), (1_234_567, 4, "1.2M"), (10**18, 3, "1E"),
])  # fmt: skip
def test_counts_in_few_columns(value: float, width: int, text: str) -> None:
    assert number(value, width) == text


def test_a_lun_that_names_no_unit_borrows_from_the_names_beside_it() -> None:
    model = TopModel()
    keys = [A._replace(lun=lun << 48) for lun in (0xC101, 0x4005)] + [A._replace(lun=0x4005_0001_0002_0003)]
    model.update("demo", sample(1, dict.fromkeys(keys, 1)))
    rows = batch_lines(model, "client, target, LUN", "R/s")[2:-1]
    assert [row.split()[:3] for row in rows] == [
        ["192.0.2.7", "disks", "0xc101"], ["192.0.2.7", "disks", "0x4005"], ["...0.2.7", "..ks", "0x4005000100.."],
    ]  # fmt: skip
    assert {len(row) for row in rows} == {80}
