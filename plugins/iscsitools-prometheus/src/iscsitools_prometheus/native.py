"""Prometheus's protobuf format (client_model, metrics.proto), the one in which its releases take native histograms.

The messages are described here to the protobuf library; only the fields that are used. The buckets are those of schema
3, eight to each power of two. The server's are finer and linear between powers of two of nanoseconds, so each goes
where its middle is: a value within 3 % of a bound may be counted on the other side of it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from iscsitools.trace.sums.histogram import lower_bound
from prometheus_client.core import Metric

from iscsitools_prometheus.families import DurationFamily, reached_of

CONTENT_TYPE: Final = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
_SCHEMA: Final = 3
_ZERO_THRESHOLD: Final = 2.0**-128
_PACKAGE: Final = "io.prometheus.client"
_TYPES: Final = {"counter": 0, "gauge": 1, "histogram": 4}

_MESSAGES: Final[dict[str, tuple[tuple[int, str, Any], ...]]] = {
    "LabelPair": ((1, "name", Field.TYPE_STRING), (2, "value", Field.TYPE_STRING)),
    "Gauge": ((1, "value", Field.TYPE_DOUBLE),),
    "Counter": ((1, "value", Field.TYPE_DOUBLE),),
    "Bucket": ((1, "cumulative_count", Field.TYPE_UINT64), (2, "upper_bound", Field.TYPE_DOUBLE)),
    "BucketSpan": ((1, "offset", Field.TYPE_SINT32), (2, "length", Field.TYPE_UINT32)),
    "Histogram": (
        (1, "sample_count", Field.TYPE_UINT64), (2, "sample_sum", Field.TYPE_DOUBLE), (3, "bucket", ["Bucket"]),
        (5, "schema", Field.TYPE_SINT32), (6, "zero_threshold", Field.TYPE_DOUBLE),
        (7, "zero_count", Field.TYPE_UINT64), (12, "positive_span", ["BucketSpan"]),
        (13, "positive_delta", [Field.TYPE_SINT64]),
    ),
    "Metric": (
        (1, "label", ["LabelPair"]), (2, "gauge", "Gauge"), (3, "counter", "Counter"), (7, "histogram", "Histogram"),
    ),
    "MetricFamily": (
        (1, "name", Field.TYPE_STRING), (2, "help", Field.TYPE_STRING), (3, "type", Field.TYPE_INT32),
        (4, "metric", ["Metric"]),
    ),
}  # fmt: skip
"""Each field's number, name and type: a type of protobuf or another message's name, in a list when it is repeated.

``type`` is an enumeration in metrics.proto, which has the form of an int32.
"""


def _described() -> list[Any]:
    file = FileDescriptorProto(name="iscsitools/metrics.proto", package=_PACKAGE, syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, field_name, kind in fields:
            repeated = isinstance(kind, list)
            only = kind[0] if repeated else kind
            field = message.field.add(
                name=field_name, number=number, label=Field.LABEL_REPEATED if repeated else Field.LABEL_OPTIONAL
            )
            if isinstance(only, str):
                field.type, field.type_name = Field.TYPE_MESSAGE, f".{_PACKAGE}.{only}"
            else:
                field.type = only
    pool = DescriptorPool()
    pool.Add(file)
    return [GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in ("MetricFamily", "Metric")]


Family, Member = _described()
"""The classes of io.prometheus.client.MetricFamily and of its Metric."""
_MEMBER: Final = b"\x22"
"""The tag of a family's field 4, which has a length."""
_PARTS: Final = 256


def wanted(accept: str) -> bool:
    """Whether the protobuf format is what a scraper asks for before all others (RFC 9110 12.5.1)."""
    best, weight = "", -1.0
    for part in accept.split(","):
        kind, *parameters = (item.strip() for item in part.split(";"))
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            value = float(quality)
        except ValueError:
            continue
        if value > weight and (kind != "application/vnd.google.protobuf" or "encoding=delimited" in parameters):
            best, weight = kind, value
    return best == "application/vnd.google.protobuf"


def encode(metrics: Iterable[Metric]) -> Iterator[bytes]:
    """Write the families one behind the other, each after its length; in pieces, for a family may be long.

    A family's length comes first, so there are empty pieces while it is made.
    """
    for metric in metrics:
        family, members = _family(metric)
        parts = [family.SerializeToString()]
        for member in members:
            data = member.SerializeToString()
            parts += [_MEMBER, _varint(len(data)), data]
            yield b""
        yield _varint(sum(map(len, parts)))
        for at in range(0, len(parts), _PARTS):
            yield b"".join(parts[at : at + _PARTS])


def buckets_of(histogram: Mapping[int, int]) -> dict[int, int]:
    """The buckets of :data:`_SCHEMA` for those of the server's sums in nanoseconds: i ends at 2**(i/8) seconds."""
    found: Counter[int] = Counter()
    for index, count in histogram.items():
        middle = (lower_bound(index) + lower_bound(index + 1)) / 2 / 1e9 if index else 1e-9
        found[math.ceil(math.log2(middle) * (1 << _SCHEMA))] += count
    return dict(sorted(found.items()))


def _family(metric: Metric) -> tuple[Any, Iterator[Any]]:
    """The family without its members, and those, one by one."""
    # The format has the whole name of a counter, the library's text gets its _total when it is written.
    name = metric.name + ("_total" if metric.type == "counter" else "")
    family = Family(name=name, help=metric.documentation, type=_TYPES[metric.type])
    return family, _histograms(metric) if isinstance(metric, DurationFamily) else _values(metric)


def _histograms(metric: DurationFamily) -> Iterator[Any]:
    for labels, durations in metric.exact:
        one = Member()
        _label(one, labels)
        _fill(one.histogram, durations.count, durations.seconds, durations.buckets)
        for bound, reached in reached_of(durations):  # the other buckets too, for who keeps both
            one.histogram.bucket.add(cumulative_count=reached, upper_bound=bound)
        yield one


def _values(metric: Metric) -> Iterator[Any]:
    for sample in metric.samples:
        one = Member()
        _label(one, sample.labels)
        (one.counter if metric.type == "counter" else one.gauge).value = sample.value
        yield one


def _label(one: Any, labels: Mapping[str, str]) -> None:
    for name, value in labels.items():
        one.label.add(name=name, value=value)


def _fill(histogram: Any, count: int, seconds: float, buckets: Mapping[int, int]) -> None:
    histogram.sample_count, histogram.sample_sum = count, seconds
    histogram.schema, histogram.zero_threshold, histogram.zero_count = _SCHEMA, _ZERO_THRESHOLD, 0
    end: int | None = None
    before = 0
    for index, number in buckets_of(buckets).items():
        if index != end:
            histogram.positive_span.add(offset=index if end is None else index - end, length=0)
        histogram.positive_span[-1].length += 1
        histogram.positive_delta.append(number - before)
        before, end = number, index + 1


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
