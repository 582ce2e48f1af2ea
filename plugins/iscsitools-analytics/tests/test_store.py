"""The history: what it packs, how it thins out, how large it becomes, and what a kill leaves."""

from __future__ import annotations

import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from iscsitools.trace.sums.buckets import Distribution

from iscsitools_analytics import schema
from iscsitools_analytics.history import History
from iscsitools_analytics.question import question_of
from iscsitools_analytics.series import MOST, Roster, Series
from iscsitools_analytics.store import Store, StoreError
from iscsitools_analytics.tally import Tally, bucket_of, lower_bound, pack, percentile, unpack
from iscsitools_analytics.watcher import spread

HOUR = 1_795_000_000 // 3600 * 3600
ONE = Series("s", "192.0.2.1", "iqn.example:host", "iqn.example:disks", "iqn.example:disks/0", "READ(16)")
TWO = ONE._replace(client="192.0.2.2", lun="iqn.example:disks/1")


def counted(commands: int, latency: int = 1_000_000) -> Tally:
    histograms = {
        "latency": Distribution(0, {bucket_of(latency): commands}),
        "lba": Distribution(1 << 20, {3: commands}),
    }
    return Tally(commands, commands, 0, commands * latency, latency, commands * 4096, histograms=histograms)


def operations(store: Store, begin: int, end: int, columns: int, text: str = "operations by:client") -> list[object]:
    answer = History(store).answer(question_of(text), begin, end, columns)
    assert answer["begin"] == begin
    return answer["columns"]


@pytest.mark.parametrize("counts", [{}, {0: 1}, {4100: 7, 4101: 1 << 40, 8192 + 4096: 3}])
@pytest.mark.parametrize("width", [0, 1, 1 << 40])
def test_a_histogram_is_unpacked_as_it_was(counts: dict[int, int], width: int) -> None:
    assert unpack(pack(counts, width)) == Distribution(width, counts)


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x00\x01"])
def test_what_is_no_histogram_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a histogram"):
        unpack(data)


def test_buckets_are_four_to_an_octave_and_a_percentile_is_in_its_own() -> None:
    assert [lower_bound(bucket_of(value)) for value in (1, 2, 3, 5, 6, 7.9, 1000)] == [1, 2, 3, 5, 6, 7, 896]
    counts = {bucket_of(1000): 98, bucket_of(1_000_000): 2}
    assert 896 <= percentile(counts, 0.98) < 1024
    assert 917_504 <= percentile(counts, 0.99) < 1_048_576


def test_a_second_is_read_as_it_was_counted(tmp_path: Path) -> None:
    store = Store(tmp_path / "h")
    store.add("s", HOUR, {ONE: counted(10), TWO: counted(5)})
    store.add("s", HOUR + 1, {})
    store.add("s", HOUR + 3, {ONE: counted(7)})
    assert operations(store, HOUR, HOUR + 5, 5) == [
        {"192.0.2.1": 10, "192.0.2.2": 5}, {}, None, {"192.0.2.1": 7}, None,
    ]  # fmt: skip
    (column,) = operations(store, HOUR, HOUR + 1, 1, "places client=192.0.2.1")
    assert column == {"n": {"": 10}, "w": 1 << 20, "c": [3, 10]}
    store.close()


def test_a_server_that_answered_late_was_watched_all_the_while(tmp_path: Path) -> None:
    store = Store(tmp_path / "h")
    store.add("s", HOUR, {ONE: counted(1)})
    store.add("s", HOUR + 9, {ONE: counted(9)}, since=HOUR + 1)
    assert operations(store, HOUR, HOUR + 10, 10) == [{"192.0.2.1": 1}, *[{}] * 8, {"192.0.2.1": 9}]
    store.close()


def test_a_second_that_comes_twice_is_added_up(tmp_path: Path) -> None:
    store = Store(tmp_path / "h")
    for commands in (10, 5):
        store.add("s", HOUR, {ONE: counted(commands)})
    assert operations(store, HOUR, HOUR + 1, 1) == [{"192.0.2.1": 15}]
    store.close()


def test_it_thins_out_to_minutes_and_hours_and_no_count_is_lost(tmp_path: Path) -> None:
    store = Store(tmp_path / "h")
    last = HOUR
    for t in range(HOUR, HOUR + 3 * 3600 + 120, 30):
        store.add("s", t, {ONE: counted(10)}, last)
        last = t + 1
    hours = operations(store, HOUR, HOUR + 3 * 3600, 3)
    assert hours == [{"192.0.2.1": round(10 * 120 / 3600, 3)}] * 3
    minutes = History(store).answer(question_of("operations"), HOUR, HOUR + 600, 600)
    assert (minutes["step"], len(minutes["columns"])) == (60, 10)  # the seconds are gone
    assert minutes["columns"] == [{"192.0.2.1": round(20 / 60, 3)}] * 10
    late = History(store).answer(question_of("operations"), HOUR + 3 * 3600, HOUR + 3 * 3600 + 60, 60)
    assert late["step"] == 1
    assert late["columns"][30] == {"192.0.2.1": 10}
    store.close()


def test_hours_of_the_day_are_told_apart_in_columns_of_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    store = Store(tmp_path / "h")
    midnight = HOUR // 86400 * 86400
    for hour in range(30 * 24):
        store.add("s", midnight + hour * 3600, {ONE: counted(10 if hour % 24 == 14 else 2)})
    answer = History(store).answer(question_of("operations by:hour"), midnight, midnight + 30 * 86400, 30)
    assert (answer["step"], len(answer["columns"])) == (86400, 30)
    wanted = {f"{hour:02}:00": 10 if hour == 14 else 2 for hour in range(24)}
    for column in answer["columns"]:
        assert {key: value * 24 for key, value in column.items()} == pytest.approx(wanted, abs=0.1)  # seconds watched
    store.close()
    monkeypatch.undo()
    time.tzset()


def test_hours_are_kept_for_a_year_and_series_as_long(tmp_path: Path) -> None:
    store = Store(tmp_path / "h")
    for day in range(0, 401, 20):
        store.add("s", HOUR + day * 86400, {ONE._replace(client=f"192.0.2.{day % 200}"): counted(10)})
        store.add("s", HOUR + day * 86400 + 7200, {})
    assert [number for number in store.series().values() if number.client == "192.0.2.0"] == [
        ONE._replace(client="192.0.2.0")
    ]
    assert min(begin for begin, _ in store.seen()["s"]) > HOUR
    assert operations(store, HOUR + 40 * 86400, HOUR + 40 * 86400 + 3600, 1) == [{"192.0.2.40": 10}]
    store.close()


def test_the_file_stays_under_its_size_and_keeps_the_newest(tmp_path: Path) -> None:
    rng = random.Random(3)
    size = 4 << 20
    store = Store(tmp_path / "h", size)
    names = [ONE._replace(client=f"192.0.2.{number}") for number in range(100)]
    for t in range(HOUR, HOUR + 400):
        latencies = {4096 + rng.randrange(60): rng.randrange(1, 1 << 20) for _ in range(20)}
        tally = Tally(100, 100, histograms={"latency": Distribution(0, latencies)})
        store.add("s", t, dict.fromkeys(names, tally))
    assert store.size() <= size
    (newest,) = operations(store, HOUR + 399, HOUR + 400, 1, "operations by:nothing")
    assert newest == {"": 10000}
    oldest = History(store).answer(question_of("operations by:nothing"), HOUR, HOUR + 60, 60)
    assert (oldest["step"], oldest["columns"]) == (60, [{"": 10000}])  # its seconds made room
    store.close()


def test_a_history_from_before_the_phases_goes_on(tmp_path: Path) -> None:
    """A file of version 1, which lacks their numbers."""
    store = Store(tmp_path / "h")
    store.add("s", HOUR, {ONE: counted(10)})
    store.close()
    db = sqlite3.connect(tmp_path / "h")
    for table, name in ((level.table, name) for level in schema.LEVELS for name in schema.NEW):
        db.execute(f"ALTER TABLE {table} DROP COLUMN {name}")
    db.execute("PRAGMA user_version = 1")
    db.close()
    store = Store(tmp_path / "h")
    later = counted(4)
    later.phased, later.backstore_sum = 4, 8000
    store.add("s", HOUR + 1, {ONE: later})
    assert operations(store, HOUR, HOUR + 2, 2) == [{"192.0.2.1": 10}, {"192.0.2.1": 4}]
    assert operations(store, HOUR, HOUR + 2, 2, "phases") == [{}, {"backstore": 2000}]
    store.close()


def test_two_do_not_write_one_file(tmp_path: Path) -> None:
    store = Store(tmp_path / "h")
    with pytest.raises(StoreError, match="in use by another"):
        Store(tmp_path / "h")
    store.close()
    Store(tmp_path / "h").close()


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\0" + bytes(100)])
def test_what_is_no_history_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "h").write_bytes(content)
    with pytest.raises(StoreError) as caught:
        Store(tmp_path / "h")
    assert "\n" not in str(caught.value)


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_store import HOUR, ONE, TWO, counted
from iscsitools_analytics.store import Store
store = Store(sys.argv[1])
begin = max((end for spans in store.seen().values() for _, end in spans), default=HOUR)
for t in range(begin, begin + 100000):
    store.add("s", t, {ONE: counted(1), TWO: counted(2)})
    print(t, flush=True)
"""


def test_a_kill_loses_no_second_that_was_told(tmp_path: Path) -> None:
    told = HOUR - 1
    for _ in range(5):
        command = [sys.executable, "-c", WRITER, str(tmp_path / "h"), str(Path(__file__).parent)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
        assert writer.stdout is not None
        for _ in range(40):
            told = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split("\n")[:-1]
        told = int(rest[-1]) if rest else told
        writer.wait()
        writer.stdout.close()
    store = Store(tmp_path / "h")
    columns = operations(store, HOUR, told + 1, told + 1 - HOUR)
    step = -(-(told + 1 - HOUR) // len(columns))
    whole = columns if step == 1 else columns[:-1]
    assert whole == [{"192.0.2.1": 1, "192.0.2.2": 2}] * len(whole)
    store.close()


def test_names_that_have_no_place_are_counted_together() -> None:
    roster = Roster(3)
    names = [ONE._replace(initiator=f"iqn.example:{number}") for number in range(5)]
    assert [roster.place(name, 0).initiator for name in names] == [
        *(name.initiator for name in names[:3]),
        "other",
        "other",
    ]
    roster.place(names[0], 4000)
    assert roster.place(names[4], 4001) == names[4]  # two have been silent for an hour
    assert MOST == 500


def test_what_is_dealt_out_adds_up_and_each_part_agrees_in_itself() -> None:
    rng = random.Random(16)
    for _ in range(200):
        ended, parts = rng.randrange(0, 40), rng.randrange(1, 31)
        latencies = Counter(rng.randrange(4096, 4110) for _ in range(ended))
        whole = Tally(ended + 3, ended, 3, ended * 1000, 5000 if ended else 0, ended * 4096, 512, errors={7: 2, 9: 1})
        whole.phased, whole.backstore_sum = ended, ended * 800
        whole.histograms = {"latency": Distribution(0, dict(latencies))} if ended else {}
        dealt = whole.split(parts)
        added = Tally()
        for part in dealt:
            assert part.latency_sum == part.ended * 1000
            assert part.backstore_sum == part.phased * 800
            assert sum(part.histograms["latency"].counts.values() if part.ended else ()) == part.ended
            added.add(part)
        assert added == whole
        assert max(part.ended for part in dealt) - min(part.ended for part in dealt) <= 1


@pytest.mark.parametrize(("first", "seconds"), [(100, 1), (100, 2), (100, 30), (100, 31), (100, 3600)])
def test_a_silence_is_spread_over_its_seconds(first: int, seconds: int) -> None:
    told = list(spread({ONE: counted(90)}, first, first + seconds - 1))
    assert [since for _, _, since in told] == [first, *(second + 1 for second, _, _ in told[:-1])]
    assert told[-1][0] == first + seconds - 1
    assert len(told) == min(seconds, 30)
    assert sum(part[ONE].commands for _, part, _ in told) == 90
    assert max(part[ONE].commands for _, part, _ in told) == -(-90 // len(told))


def test_what_did_not_fit_on_the_disk_costs_nothing_that_comes_later(tmp_path: Path) -> None:
    """A disk that is full says so when the journal is written, at the end of a transaction."""
    store = Store(tmp_path / "h.db")
    store.add("s", HOUR, {})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "h.db-wal").stat().st_size, hard))
    try:
        for t in (1, 2):
            with pytest.raises(StoreError):
                store.add("s", HOUR + t, {ONE: counted(5)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    store.add("s", HOUR + 3, {TWO: counted(7)})
    store.add("s", HOUR + 4, {ONE: counted(9)})
    expected = [{}, None, None, {"192.0.2.2": 7}, {"192.0.2.1": 9}]
    for _ in range(2):
        assert History(store).answer(question_of("operations"), HOUR, HOUR + 5, 5)["columns"] == expected
        store.close()
        store = Store(tmp_path / "h.db")
    store.close()
