"""Questions as text, and what is answered from counts."""

from __future__ import annotations

import datetime
import time

import pytest
from iscsitools.trace import CommandRow, ConnectionStrings
from iscsitools.trace.sums.buckets import Distribution
from iscsitools.trace.sums.histogram import count

from iscsitools_analytics.answer import Column, size_class
from iscsitools_analytics.question import METRICS, QuestionError, question_of
from iscsitools_analytics.series import Series
from iscsitools_analytics.tally import Tally, bucket_of, tally_of

READ = Series("s", "192.0.2.1", "iqn.example:a b", "iqn.example:disks", "iqn.example:disks/0", "READ(16)")
WRITE = READ._replace(client="192.0.2.2", command="WRITE(16)")
LOGIN = READ._replace(lun="", command="login")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "there is no metric ''"),
        ("loud", "there is no metric 'loud'"),
        ("operations by:colour", "there is no 'colour'"),
        ("operations nonsense", "'nonsense' makes no sense"),
        ("operations over:ten", "over:ten is no number"),
        ("bytes over:10", "over: is for operations and latencies"),
        ("operations by:size over:10", "over: is for"),
        ("bytes by:size", "bytes are not kept by size"),
        ("operations size=4%20KiB", "size= needs by:size"),
        ("operations mark:client=x", "mark: is for heat maps"),
        ("phases by:client", "phases are by phase"),
        ("operations by:phase", "operations are not kept by phase"),
        ("latencies mark:hour=x", "there is no 'hour'"),
        ("operations " + "client=x " * 1000, "too long"),
    ],
)
def test_what_is_no_question_is_one_line(text: str, says: str) -> None:
    with pytest.raises(QuestionError) as caught:
        question_of(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_answered_of_nothing(name: str) -> None:
    column = Column(question_of(name))
    assert column.value(1) in ({}, {"n": {}, "w": 0, "c": []})


def test_filters_choose_series() -> None:
    chosen = question_of("operations initiator=iqn.example:a%20b client!=192.0.2.2")
    assert chosen.admits(READ)
    assert not chosen.admits(WRITE)
    assert not chosen.admits(LOGIN)
    assert question_of("logins").admits(LOGIN)
    assert not question_of("operations operation=write").admits(READ)


def test_rates_are_per_second_and_by_what_was_asked() -> None:
    column = Column(question_of("bytes by:operation"))
    column.add(READ, Tally(in_bytes=6000), 0)
    column.add(WRITE, Tally(out_bytes=3000), 0)
    assert column.value(3) == {"read": 2000, "write": 1000}


def test_counts_are_told_by_the_hour_of_the_day_in_which_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the place where the page's process runs, also in summer: whatever the day."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        column = Column(question_of("operations by:hour"))
        for day in ("2026-01-07", "2026-01-08", "2026-07-07"):
            noon = int(datetime.datetime.fromisoformat(f"{day}T12:30:00+00:00").timestamp())
            column.add(READ, Tally(5, 5), noon)
        assert column.value(1) == {"13:00": 10, "14:00": 5}
        without = Column(question_of("operations by:hour hour!=13:00"))
        for t in (noon, noon - 3600):
            without.add(READ, Tally(5, 5), t)
        assert without.value(1) == {"14:00": 5}
    finally:
        monkeypatch.undo()
        time.tzset()


def test_those_over_a_latency_are_counted() -> None:
    latency = Distribution(0, {bucket_of(1_000_000): 5, bucket_of(20_000_000): 3})
    column = Column(question_of("operations by:client over:10000000"))
    column.add(READ, Tally(8, 8, histograms={"latency": latency}), 0)
    assert column.value(1) == {"192.0.2.1": 3}


def test_lines_are_averages_of_all_commands_and_a_percentile_is_no_more_than_the_longest() -> None:
    tallies = [Tally(1, 1, 0, 1000, 1000), Tally(3, 3, 0, 9000, 5000)]
    for tally in tallies:
        tally.histograms["latency"] = Distribution(0, {bucket_of(tally.maximum): tally.ended})
    average, high = Column(question_of("latency by:nothing")), Column(question_of("p99 by:nothing"))
    for tally in tallies:
        average.add(READ, tally, 0)
        high.add(READ, tally, 0)
    assert average.value(1) == {"": 2500}
    assert high.value(1)[""] <= 5000


def test_phases_are_averages_of_a_command_and_can_be_filtered() -> None:
    column = Column(question_of("phases"))
    column.add(READ, Tally(phased=3, backstore_sum=3000, sending_sum=600), 0)
    column.add(WRITE, Tally(phased=1, backstore_sum=1000, waiting_sum=4000), 0)
    assert column.value(5) == {"backstore": 1000, "waiting": 1000, "sending": 150}
    alone = Column(question_of("phases phase=waiting operation=write"))
    alone.add(WRITE, Tally(phased=1, backstore_sum=1000, waiting_sum=4000), 0)
    assert alone.value(5) == {"waiting": 4000}
    whole = Column(question_of("phases by:nothing"))
    whole.add(WRITE, Tally(phased=2, backstore_sum=1000, waiting_sum=4000), 0)
    assert whole.value(5) == {"": 2500}


def test_a_row_of_the_sums_has_its_phases_added_up() -> None:
    strings = ConnectionStrings(1, "", "192.0.2.1:1", "ipv4", "iqn.example:disks", "iqn.example:a", "", "", "")
    phases = {"backstore": [10_000] * 3, "waiting": [0, 0, 40_000], "sending": []}
    histograms = {name: Distribution(0, dict(count(values))) for name, values in phases.items()}
    row = CommandRow(
        strings, 0, 0x2A, None, False, True, 3, 3, 70_000, 50_000, 0, 0, 0, 3, 12288, histograms=histograms
    )
    tally = tally_of(row)
    assert (tally.phased, tally.sending_sum) == (3, 0)
    assert tally.backstore_sum == pytest.approx(30_000, rel=1 / 32)
    assert tally.waiting_sum == pytest.approx(40_000, rel=1 / 32)


def test_a_map_has_its_cells_and_those_that_are_marked() -> None:
    column = Column(question_of("places by:client mark:client=192.0.2.2"))
    column.add(READ, Tally(histograms={"lba": Distribution(8, {5: 2})}), 0)
    column.add(WRITE, Tally(histograms={"lba": Distribution(16, {2: 1})}), 0)
    assert column.value(1) == {"n": {"192.0.2.1": 2, "192.0.2.2": 1}, "w": 16, "c": [2, 3], "m": [2, 1]}


def test_errors_are_by_their_sense_and_logins_by_their_status() -> None:
    column = Column(question_of("errors"))
    column.add(READ, Tally(failed=3, errors={0x02 << 24 | 0x031100: 2, 0x18 << 24: 1}), 0)
    assert sorted(column.value(1).values()) == [1, 2]
    assert any("UNRECOVERED" in key.upper() or "3/11/00" in key for key in column.value(1))
    logins = Column(question_of("logins by:sense"))
    logins.add(LOGIN, Tally(3, 2, 1, errors={0: 2, 0x0201: 1}), 0)
    assert logins.value(1) == {"logged in": 2, "login status 0201": 1}


@pytest.mark.parametrize(
    ("size", "name"), [(0, "0 B"), (512, "512 B"), (4096, "4 KiB"), (6000, "4 KiB"), (1 << 20, "1 MiB")]
)
def test_sizes_are_in_classes(size: int, name: str) -> None:
    assert size_class(bucket_of(size)) == name
