"""The columns, views and heat map of ``top``, and the views that a user keeps."""

from __future__ import annotations

import pytest

from iscsitools.trace.selection import Selection
from iscsitools.trace.sums.buckets import Distribution
from iscsitools.trace.sums.busy import Scope
from iscsitools.trace.sums.histogram import count
from iscsitools.trace.sums.snapshot import CommandRow, Snapshot
from iscsitools.trace.views.top.columns import ALL, COLUMNS, SHARES, VIEWS, size
from iscsitools.trace.views.top.heat import heat_lines
from iscsitools.trace.views.top.model import Counters, RowKey, Sample, TopModel
from iscsitools.trace.views.top.samples import sample_of
from iscsitools.trace.views.top.saved import Look
from iscsitools.trace.views.top.text import Layout, batch_lines, sorted_rows

from .traffic import connection, strings

SECOND = 1_000_000_000
US = 1000


def command_row(opcode: int, reads: bool, writes: bool, latencies: list[int], size: int = 0) -> CommandRow:
    n = len(latencies)
    moved = (n, n * size, 0, 0) if reads else (0, 0, n, n * size)
    sums = (n, n, sum(latencies), max(latencies), 0, *moved)
    return CommandRow(strings(connection(1)), 0, opcode, None, reads, writes, *sums, dict(count(latencies)))


@pytest.fixture
def model() -> TopModel:
    """Two seconds of one row, the second with known commands of every kind."""
    rows = [
        command_row(0x28, True, False, [100 * US] * 98 + [10_000 * US] * 2, 4096),
        command_row(0x2A, False, True, [2000 * US] * 10, 65536),
        command_row(0x35, False, False, [500 * US] * 3),
        command_row(0x91, False, False, [500 * US]),
        command_row(0x42, False, True, [US] * 2, 24),
    ]
    model = TopModel()
    selection = Selection()
    model.update("demo", sample_of("demo", Snapshot(0, SECOND, [], []), selection))
    model.update("demo", sample_of("demo", Snapshot(SECOND, 3 * SECOND, rows, []), selection))
    return model


def cells(model: TopModel, view: str, percentile: str = "P99") -> dict[str, str]:
    (row,) = model.rows("client")
    layout = Layout("client", 100, [row], view, percentile=percentile)
    headings = layout.header(ALL).split()[1 : 1 + len(VIEWS[view])]
    return dict(zip(headings, layout.line(row).split()[1:], strict=False))


def test_reads_and_writes_have_latencies_of_their_own(model: TopModel) -> None:
    assert cells(model, "latency") == {
        **{"R/s": "50", "RAVG": "298us", "RP99": "10ms", "W/s": "6", "WAVG": "1.7ms", "WP99": "2.0ms"},
        **{"AQU": "0.0", "QD": "0"},
    }


@pytest.mark.parametrize(
    ("percentile", "text"), [("P50", "100us"), ("P90", "100us"), ("P99", "10ms"), ("P99.9", "10ms")]
)
def test_the_percentile_can_be_chosen(model: TopModel, percentile: str, text: str) -> None:
    assert cells(model, "latency", percentile)[f"R{percentile}"] == text


def test_sizes_flushes_and_unmaps(model: TopModel) -> None:
    assert cells(model, "requests") == {
        **{"R/s": "50", "RSZ": "4.0K", "RKB/s": "200", "W/s": "6", "WSZ": "53K", "WKB/s": "320"},
        **{"FLU": "2", "UNM": "1"},
    }
    assert [size(n) for n in (0, 512, 1000, 4096, 131072, 1 << 30)] == ["-", "512", "1.0K", "4.0K", "128K", "1.0G"]


def test_phases_are_averages_and_percentiles() -> None:
    histograms = {
        "backstore": Distribution(0, dict(count([300 * US] * 98 + [9000 * US] * 2))),
        "sending": Distribution(0, dict(count([0] * 50 + [80 * US] * 50))),
    }
    read = command_row(0x28, True, False, [500 * US] * 100, 4096)
    read.histograms = histograms
    model = TopModel()
    model.update("demo", sample_of("demo", Snapshot(0, SECOND, [read], []), Selection()))
    shown = cells(model, "phases")
    assert shown["BUSY"] == "-"  # of a server that does not tell
    assert (shown["BP99"], shown["DATA"], shown["DP99"]) == ("9.2ms", "-", "-")
    assert float(shown["BACK"].removesuffix("us")) == pytest.approx(300 * 0.98 + 9000 * 0.02, rel=1 / 16)
    assert float(shown["SEND"].removesuffix("us")) == pytest.approx(40, rel=1 / 16)
    assert cells(model, "phases", "P50")["BP50"] == cells(model, "phases", "P90")["BP90"]


def test_busy_is_of_who_the_row_is_and_of_its_busiest_lun() -> None:
    rows = []
    for ident, lun in ((1, 0), (1, 4), (2, 4)):
        row = command_row(0x28, True, False, [100 * US], 4096)
        row.conn, row.lun = strings(connection(ident, f"192.0.2.{ident}:5")), lun
        rows.append(row)
    target = rows[0].conn.target
    busy = {
        Scope("", target, 0): 100, Scope("192.0.2.1", target, 0): 100,
        Scope("", target, 4): 700, Scope("192.0.2.1", target, 4): 300, Scope("192.0.2.2", target, 4): 500,
    }  # fmt: skip
    model = TopModel()
    model.update("demo", sample_of("demo", Snapshot(0, 1000, rows, [], busy=busy), Selection()))
    shown = {group: {row.key: row.busy for row in model.rows(group)} for group in ("client", "target, LUN", "target")}
    assert shown == {
        "client": {("192.0.2.1",): 0.3, ("192.0.2.2",): 0.5},
        "target, LUN": {(target, "0"): 0.1, (target, "4"): 0.7},
        "target": {(target,): 0.7},
    }
    assert {row.key: row.busy for row in model.rows()}["192.0.2.1", target, "0"] == 0.1
    assert model.total().busy == 0.7
    assert [part.busy for part in model.parts("target, LUN", (target, "4"))] == [0.3, 0.5]


def test_sessions_are_rows_and_what_a_row_opens_into() -> None:
    """Two sessions of one initiator on one LUN."""
    rows = []
    for ident, number in ((1, 3), (2, 4)):
        row = command_row(0x28, True, False, [100 * US] * number, 4096)
        row.conn = strings(connection(ident, tsih=f"0x{ident:04x}"))
        rows.append(row)
    status = {"in_flight": [{"remote": rows[0].conn.remote, "initiator": rows[0].conn.initiator,
                             "target": rows[0].conn.target, "tsih": "0x0001", "lun": 0, "commands": 5}]}  # fmt: skip
    model = TopModel()
    model.update("demo", sample_of("demo", Snapshot(0, SECOND, rows, [], status=status), Selection()))
    one, two = model.rows("session")
    assert one.key == (f"{rows[0].conn.initiator} 0x0001", rows[0].conn.target)
    assert ([one.reads, one.in_flight], [two.reads, two.in_flight]) == ([3, 5], [4, 0])
    (whole,) = model.rows()
    assert whole.reads == 7
    parts = model.parts("client, target, LUN", whole.key)
    assert [(part.key[0], part.reads) for part in parts] == [
        (f"{rows[0].conn.initiator} 0x0001", 3), (f"{rows[0].conn.initiator} 0x0002", 4),
    ]  # fmt: skip
    assert [part.key[0] for part in model.parts("session", one.key)] == ["192.0.2.7 LUN 0"]


def test_average_queue_is_what_latencies_add_up_to() -> None:
    model = TopModel()
    key = RowKey("demo", "192.0.2.7", "iqn.2026-11.example:disks", 0)
    model.update("demo", Sample(0, SECOND, {key: Counters(timed=1000, latency=1000 * 8_000_000)}))
    assert cells(model, "latency")["AQU"] == "8.0"


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("percentile", SHARES)
def test_a_view_fits_80_columns_whole(model: TopModel, view: str, percentile: str) -> None:
    layout = Layout("client, target, LUN", 80, model.rows(), view, percentile=percentile)
    assert layout.numbers == list(VIEWS[view])
    assert len(layout.header(ALL)) == 80
    assert len(layout.line(model.rows()[0])) == 80


def test_columns_that_have_no_room_are_scrolled_to(model: TopModel) -> None:
    seen = [Layout("client", 40, model.rows("client"), "load", first).numbers for first in range(9)]
    assert seen[0] == ["R/s", "W/s", "RKB/s"]
    assert seen[2] == ["RKB/s", "WKB/s", "AVG"][: len(seen[2])]
    assert seen[7] == seen[8] == ["WKB/s", "AVG", "P", "QD", "ERR"][-len(seen[7]) :]
    for first, numbers in enumerate(seen[:8]):
        assert VIEWS["load"][first] in numbers
        assert len(Layout("client", 40, model.rows("client"), "load", first).line(model.rows("client")[0])) <= 40


def test_rows_are_sorted_by_any_column() -> None:
    model = TopModel()
    rows = {}
    for n in (1, 2, 3):
        latencies = {"read_latency": 10**6 * n, "write_latency": -(10**6) * n}
        rows[RowKey("demo", f"192.0.2.{n}", "iqn.2026-11.example:disks", 0)] = Counters(
            read_timed=1, write_timed=1, **latencies
        )
    model.update("demo", Sample(0, SECOND, rows))
    for sort, reverse in (("RAVG", False), ("WAVG", True)):
        assert [row.key[0][-1] for row in sorted_rows(model.rows("client"), sort, reverse)] == ["3", "2", "1"]
    for name in COLUMNS:
        assert len(sorted_rows(model.rows(), name, False, "P50")) == 3


def test_a_row_is_opened_into_what_it_is_made_of() -> None:
    model = TopModel()
    keys = [RowKey("demo", f"192.0.2.{n}", "iqn.2026-11.example:disks", lun) for n in (7, 8) for lun in (0, 1)]
    model.update("demo", Sample(0, SECOND, {key: Counters(reads=n) for n, key in enumerate(keys, 1)}))
    parts = model.parts("client", ("192.0.2.7",))
    assert [(row.key, row.reads) for row in parts] == [(("disks LUN 0",), 1.0), (("disks LUN 1",), 2.0)]
    clients = model.parts("target, LUN", (keys[0].target, "1"))
    assert [row.key for row in clients] == [
        ("192.0.2.7", ""),
        ("192.0.2.8", ""),
    ]
    assert model.parts("client, target, LUN", ("192.0.2.7", keys[0].target, "0")) == []
    assert [row.key for row in model.parts("server", ("demo",), "0.2.8")] == [
        ("192.0.2.8 disks LUN 0",),
        ("192.0.2.8 disks LUN 1",),
    ]
    layout = Layout("target, LUN", 80, parts)
    assert "192.0.2.7" in layout.line(clients[0])


def test_the_heat_map_has_a_second_for_each_column() -> None:
    model = TopModel()
    key = RowKey("demo", "192.0.2.7", "iqn.2026-11.example:disks", 0)
    for second, latencies in ((1, [1000] * 9), (2, []), (3, [1000] * 3 + [4_000_000])):
        histogram = dict(count(latencies))
        model.update(
            "demo", Sample((second - 1) * SECOND, second * SECOND, {key: Counters(len(latencies), histogram=histogram)})
        )
    lines = heat_lines(model.history("client", ("192.0.2.7",)))
    texts = ["".join(text for _, text in line) for line in lines]
    assert texts[0] == "2.1ms |" + " " * 59 + "."
    assert texts[-3] == "0.5us |" + " " * 57 + "@ -"
    assert texts[-1].endswith("up to 9 commands")
    assert [heat for heat, _ in lines[-3]][-3:] == [9, 0, 3]
    nothing = heat_lines(model.history("client", ("192.0.2.8",)))
    assert nothing[0] == [(0, "No command ended in this time.")]


def test_the_heat_map_goes_back_half_an_hour_and_rows_without_end_take_no_more_room() -> None:
    model, slow = TopModel(), RowKey("demo", "192.0.2.7", "iqn.2026-11.example:disks", 0)
    busy = Counters(1, histogram=dict(count([1000])))
    for second in range(1, 2001):
        rows = {slow: Counters(7, histogram=dict(count([4_000_000] * 7))) if second == 1000 else busy}
        model.update("demo", Sample((second - 1) * SECOND, second * SECOND, rows))
    told = [model.history("client", ("192.0.2.7",), back=back) for back in (0, 970, 1740)]
    assert [set().union(*seconds) for seconds in told] == [{512}, {512, 2097152}, {512}]
    assert told[1][-31] == {2097152: 7}
    assert all(told[2])
    assert not any(model.history("client", ("192.0.2.7",), back=1800))
    lines = ["".join(text for _, text in line) for line in heat_lines(told[1], 970)]
    assert lines[0] == "2.1ms |" + " " * 29 + "@" + " " * 30
    assert lines[-2] == " " * 7 + "-1030 s" + " " * 47 + "-970 s"
    assert [len(model.history("client", ("192.0.2.7",), back=970, cells=31)), len(lines[-2])] == [31, 67]
    for second in range(2001, 2161):
        rows = {slow._replace(lun=lun): busy for lun in range(2500)}
        model.update("demo", Sample((second - 1) * SECOND, second * SECOND, rows))
        if second == 2080:
            assert all(model.history("client", ("192.0.2.7",), back=20))
    assert not any(model.history("client", ("192.0.2.7",), back=81))


def test_a_batch_has_the_view_and_the_filter(model: TopModel) -> None:
    heading = batch_lines(model, "client", ALL, look=Look("requests"))[1].split()
    assert heading[:9] == ["CLIENT", *VIEWS["requests"]]
    assert len(batch_lines(model, "client", ALL, look=Look(filter="nobody"))) == 3
