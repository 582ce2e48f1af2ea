"""The protobuf format: told apart by what is asked for, and read back by descriptors of the protobuf library."""

from __future__ import annotations

import math

import pytest
from iscsitools.trace.sums import histogram

from iscsitools_prometheus import native
from iscsitools_prometheus.families import DurationFamily
from iscsitools_prometheus.totals import Durations

PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (f"{PROTOBUF},application/openmetrics-text;version=1.0.0;q=0.8,*/*;q=0.1", True),
        (f"application/openmetrics-text;version=1.0.0,{PROTOBUF};q=0.7,text/plain;q=0.5", False),
        (PROTOBUF.replace("delimited", "text"), False),
        ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", False),
        (f"{PROTOBUF};q=x", False),
        ("", False),
    ],
)
def test_who_wants_it(accept: str, wanted: bool) -> None:
    assert native.wanted(accept) is wanted


def test_a_histogram_read_back() -> None:
    values = [1000] * 3 + [20_000] * 5 + [21_000, 5_000_000_000]
    durations = Durations(len(values), sum(values) / 1e9, histogram.count(values))
    family = DurationFamily("d", "help", ["lun"])
    family.add(["7"], durations)
    data = b"".join(native.encode([family]))
    length = data[0] & 0x7F | data[1] << 7
    assert len(data) == length + 2
    read = native.Family.FromString(data[2:])
    (metric,) = read.metric
    one = metric.histogram
    assert (read.name, read.type, metric.label[0].name, metric.label[0].value) == ("d", 4, "lun", "7")
    assert (one.sample_count, one.sample_sum) == (10, pytest.approx(sum(values) / 1e9))
    found, index, count = {}, 0, 0
    deltas = iter(one.positive_delta)
    for span in one.positive_span:
        index += span.offset
        for _ in range(span.length):
            count += next(deltas)
            found[index] = count
            index += 1
    assert list(deltas) == []
    assert sum(found.values()) == 10
    for value in values:  # each is counted in a bucket that is not more than 3 % away from it
        near = [i for i in found if 2 ** ((i - 1) / 8) * 0.97 < value / 1e9 <= 2 ** (i / 8) * 1.03]
        assert near, (value, found, math.log2(value / 1e9) * 8)
    assert [(b.upper_bound, b.cumulative_count) for b in one.bucket][-1][1] == 10
