"""A page of many units with long names: in pieces, between which others have the interpreter, and packed."""

from __future__ import annotations

import gzip
from itertools import pairwise
from typing import Any

import pytest
from iscsitools.lifecycle import LunNotice, SessionNotice
from iscsitools.trace.sums import histogram
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from iscsitools_prometheus import native, text
from iscsitools_prometheus.families import DurationFamily, families
from iscsitools_prometheus.pauses import Pauses
from iscsitools_prometheus.totals import OPERATIONS, Durations, Group, Totals, Unit
from iscsitools_prometheus.web import gzipped, takes_gzip

TARGET = "iqn.2026-11.example:" + "t" * 203
UNITS = 100
STATUS: dict[str, Any] = {
    "started": 1.0, "in_flight": [], "connections": UNITS, "limits": {"max_connections": 0}, "drops": {"x": 1},
    "loop_cpu": 0.5, "cpu": 1.0,
}  # fmt: skip


def full() -> Totals:
    """Units of 100 initiators with long, odd names, each with latencies from microseconds to seconds."""
    totals = Totals(UNITS)
    totals.lun_added(LunNotice(TARGET, 0, "ram", 8, 512))
    for number in range(UNITS):
        name = f'iqn.2026-11.example:\\"\u00e4{number:03}' + "i" * 190
        totals.session_opened(SessionNotice(TARGET, name, "400001370000", 1, "127.0.0.1:1"))
        group = totals.groups[Unit(name, TARGET, "0")] = Group(read_bytes=4096, written_bytes=512)
        for operation in OPERATIONS:
            latencies = [1000 << n for n in range(24)] * 3
            group.commands[operation] = len(latencies)
            group.durations[operation] = Durations(len(latencies), sum(latencies) / 1e9, histogram.count(latencies))
        group.errors[0x02_03_11_00] = number
    return totals


def all_families(**more: Any) -> list[Metric]:
    return list(families(full(), STATUS, "name", 0.0, 0, **more))


class Whole:
    """What the client library takes."""

    def collect(self) -> list[Metric]:
        found = all_families()
        for family in found:
            if isinstance(family, DurationFamily):
                family.samples = [sample for piece in family.pieces() for sample in piece]
        return found


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text; version=1.0.0"])
def test_the_pieces_are_what_the_library_makes_of_the_whole(accept: str) -> None:
    encoder, _ = choose_encoder(accept)
    pieces = list(text.encode(all_families(), encoder))
    assert b"".join(pieces) == encoder(Whole())  # type: ignore[arg-type]
    assert max(map(len, pieces)) < 32 * 1024


def test_the_pieces_of_protobuf_are_families_one_behind_the_other() -> None:
    data = b"".join(native.encode(all_families()))
    found, at = {}, 0
    while at < len(data):
        length = shift = 0
        while True:
            length |= (data[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if data[at - 1] < 0x80:
                break
        family = native.Family.FromString(data[at : at + length])
        found[family.name] = family
        at += length
    assert len(found["iscsi_command_duration_seconds"].metric) == UNITS * len(OPERATIONS)
    one = found["iscsi_command_duration_seconds"].metric[0].histogram
    assert (one.sample_count, len(one.bucket)) == (72, 20)
    assert {metric.counter.value for metric in found["iscsi_bytes_total"].metric} == {4096, 512}


def test_who_makes_a_page_lets_others_have_the_interpreter_within_half_a_millisecond_of_work() -> None:
    now, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(now[0])
        now[0] += seconds

    pauses = Pauses(lambda: now[0], sleep)
    for _ in range(100):
        now[0] += 0.0002
        pauses()
    steps = [later - earlier for earlier, later in pairwise(slept)]
    assert len(slept) == 33
    assert max(steps) < 0.001


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text; version=1.0.0"])
def test_pauses_are_offered_for_each_few_samples_and_each_unit(accept: str) -> None:
    offered: list[None] = []
    metrics = all_families(pauses=lambda: offered.append(None))
    assert len(offered) == UNITS
    samples = sum(len(metric.samples) for metric in Whole().collect())
    assert len(list(text.encode(metrics, choose_encoder(accept)[0]))) > samples / 32
    assert len(list(native.encode(metrics))) > samples / 32


@pytest.mark.parametrize(
    ("accepted", "takes"),
    [
        ("gzip", True), ("deflate, GZIP;q=0.5", True), ("", False), ("identity", False), ("gzip;q=0", False),
        ("gzip; q=0.000", False), ("gzip;q=0.001", True), ("xgzip", False), (",;q=,gzip", True),
    ],
)  # fmt: skip
def test_who_takes_it_packed(accepted: str, takes: bool) -> None:
    assert takes_gzip(accepted) is takes


def test_packed_it_is_a_fiftieth() -> None:
    pieces = list(text.encode(all_families(), choose_encoder("text/plain")[0]))
    packed = b"".join(gzipped(iter(pieces)))
    assert gzip.decompress(packed) == b"".join(pieces)
    assert len(packed) * 40 < sum(map(len, pieces))
