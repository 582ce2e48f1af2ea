"""The counts of one series in one span of time, how they are added up, and how they are packed.

Histograms have four buckets to a power of two, where the target's have sixteen: a heat map's rows are those, and a
year of them stays small. A bucket is the first 14 bits of the value as an IEEE 754 double; of a negative value the
highest of these bits is set.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from iscsitools.trace import CommandRow
from iscsitools.trace.sums import histogram as fine
from iscsitools.trace.sums.buckets import Distribution, merged
from iscsitools.trace.sums.declared import PHASES

HISTOGRAMS: Final = ("latency", "size", "lba", "seek", "depth")
NUMBERS: Final = (
    "commands", "ended", "failed", "latency_sum", "maximum", "in_bytes", "out_bytes",
    "phased", "backstore_sum", "waiting_sum", "sending_sum",
)  # fmt: skip
ASKED: Final = (*HISTOGRAMS[1:], *PHASES)
"""What the target is asked to keep; of latencies it always does."""
_FINER: Final = 2
"""The target's buckets are so many halvings finer."""
_DOUBLE: Final = struct.Struct(">d")
_TOP: Final = struct.Struct(">H6x")


@dataclass(slots=True)
class Tally:
    """Counts; ``latency_sum`` and ``maximum`` in nanoseconds, over the commands that ``ended`` well."""

    commands: int = 0
    ended: int = 0
    failed: int = 0
    latency_sum: int = 0
    maximum: int = 0
    in_bytes: int = 0
    out_bytes: int = 0
    phased: int = 0
    """Commands whose phases are in the next three: they have ended, and their data has left."""
    backstore_sum: int = 0
    """Nanoseconds, by the middles of the target's buckets, each of which is at most a sixteenth wide."""
    waiting_sum: int = 0
    sending_sum: int = 0
    errors: dict[int, int] = field(default_factory=dict)
    """Failures by ``CommandRow.errors``'s codes; of logins by their status."""
    histograms: dict[str, Distribution] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        """Add another span, or another series, to this one."""
        for name in NUMBERS:
            if name != "maximum":
                setattr(self, name, getattr(self, name) + getattr(other, name))
        self.maximum = max(self.maximum, other.maximum)
        for code, count in other.errors.items():
            self.errors[code] = self.errors.get(code, 0) + count
        for name, distribution in other.histograms.items():
            mine = self.histograms.get(name)
            self.histograms[name] = merged((mine, distribution)) if mine is not None else distribution

    def split(self, parts: int) -> list[Tally]:
        """Deal it out in equal parts, whose sum it is: one command after the other, so each part agrees in itself."""
        return [self._part(parts, k) for k in range(parts)]

    def _part(self, parts: int, k: int) -> Tally:
        def dealt(count: int, before: int = 0) -> int:
            """How many of ``count``, behind ``before`` others, the part gets."""
            return (before + count - 1 - k) // parts - (before - 1 - k) // parts

        def with_those(amount: int, count: int) -> int:
            """What of ``amount`` belongs to the part's share of ``count``."""
            if not count:
                return 0 if k else amount
            whole, more = divmod(count, parts)
            until = [whole * end + min(end, more) for end in (k, k + 1)]
            return amount * until[1] // count - amount * until[0] // count

        part = Tally(dealt(self.commands), dealt(self.ended), dealt(self.failed))
        part.latency_sum = with_those(self.latency_sum, self.ended)
        part.maximum = self.maximum if part.ended else 0
        part.in_bytes, part.out_bytes = (with_those(n, self.commands) for n in (self.in_bytes, self.out_bytes))
        part.phased = dealt(self.phased)
        for name in ("backstore_sum", "waiting_sum", "sending_sum"):
            setattr(part, name, with_those(getattr(self, name), self.phased))
        part.errors = _shares(self.errors, dealt)
        for name, distribution in self.histograms.items():
            if counts := _shares(distribution.counts, dealt):
                part.histograms[name] = Distribution(distribution.width, counts)
        return part


def _shares(counts: Mapping[int, int], dealt: Callable[[int, int], int]) -> dict[int, int]:
    """A part of a histogram: as many as the part gets of all that is in it."""
    shares: dict[int, int] = {}
    before = 0
    for key in sorted(counts):
        if share := dealt(counts[key], before):
            shares[key] = share
        before += counts[key]
    return shares


def tally_of(row: CommandRow) -> Tally:
    """The counts of a row of the sums."""
    histograms = {"latency": Distribution(0, _coarser(row.histogram))} if row.histogram else {}
    for name, distribution in row.histograms.items():
        if distribution.counts and name in HISTOGRAMS:
            counts = distribution.counts if distribution.width else _coarser(distribution.counts)
            histograms[name] = Distribution(distribution.width, counts)
    phases = [row.histograms[name].counts if name in row.histograms else {} for name in PHASES]
    backstore, waiting, sending = map(_total, phases)
    return Tally(
        row.commands, row.ended, row.failed, row.latency, row.maximum, row.in_bytes, row.out_bytes,
        sum(phases[0].values()), backstore, waiting, sending, dict(row.errors), histograms,
    )  # fmt: skip


def _total(counts: Mapping[int, int]) -> int:
    """What values of the target's buckets add up to."""
    return round(sum(count * (fine.lower_bound(n) + fine.lower_bound(n + 1)) / 2 for n, count in counts.items() if n))


def _coarser(counts: Mapping[int, int]) -> dict[int, int]:
    coarse: Counter[int] = Counter()
    for bucket, count in counts.items():
        coarse[bucket >> _FINER] += count
    return dict(coarse)


def bucket_of(value: float) -> int:
    """The bucket of a value."""
    bucket: int = _TOP.unpack(_DOUBLE.pack(value))[0] >> _FINER
    return bucket


def lower_bound(bucket: int) -> float:
    """The smallest value, without its sign, of a bucket."""
    value: float = _DOUBLE.unpack(_TOP.pack((bucket & 0x1FFF) << _FINER))[0]
    return value


def percentile(counts: Mapping[int, int], share: float) -> float:
    """The middle of the bucket in which ``share`` (0 to 1) of values that are not negative is reached; 0 of none."""
    left = share * sum(counts.values())
    for bucket in sorted(counts):
        left -= counts[bucket]
        if left <= 0:
            return (lower_bound(bucket) + lower_bound(bucket + 1)) / 2
    return 0.0


def pack(counts: Mapping[int, int], width: int = 0) -> bytes:
    """A histogram as variable-length numbers: the width, then each bucket's distance from the one before and count."""
    out = bytearray()
    for number in _numbers(counts, width):
        while number > 0x7F:
            out.append(number & 0x7F | 0x80)
            number >>= 7
        out.append(number)
    return bytes(out)


def _numbers(counts: Mapping[int, int], width: int) -> Iterable[int]:
    yield width.bit_length()
    before = 0
    for bucket in sorted(counts):
        yield bucket - before
        yield counts[bucket]
        before = bucket


def unpack(data: bytes) -> Distribution:
    """What :func:`pack` made. Raises ValueError when it cannot have."""
    numbers = []
    number = shift = 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        if byte & 0x80:
            shift += 7
        else:
            numbers.append(number)
            number = shift = 0
    if shift or len(numbers) % 2 == 0:
        raise ValueError("not a histogram")
    counts = {}
    bucket = 0
    for delta, count in zip(numbers[1::2], numbers[2::2], strict=True):
        bucket += delta
        counts[bucket] = count
    return Distribution(1 << numbers[0] >> 1, counts)
