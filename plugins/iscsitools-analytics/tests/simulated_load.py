"""A load with known numbers: six clients, each with a LUN of its own; from one moment on the fourth makes all slow.

Whatever is random comes from a seed, so that the pictures in the documentation are the same each time.
"""

from __future__ import annotations

import random
from collections import Counter

from iscsitools.trace.sums.buckets import Distribution

from iscsitools_analytics.series import Series
from iscsitools_analytics.store import Store
from iscsitools_analytics.tally import Tally, bucket_of

SERVER = "disks"
TARGET = "iqn.2026-11.example:disks"
CLIENTS = tuple(f"192.0.2.{number}" for number in range(11, 17))
CULPRIT = 3
"""Its index: 192.0.2.14, and its LUN 3."""
US, MS = 1000, 1_000_000
BLOCKS = 1 << 27
"""Of each LUN: 64 GiB of 512 bytes."""
WIDTH = BLOCKS >> 7


def series_for(client: int, command: str) -> Series:
    name = f"iqn.2026-11.example:host{client + 1}"
    return Series(SERVER, CLIENTS[client], name, TARGET, f"{TARGET}/{client}", command)


def tally_for(
    rng: random.Random, latencies: list[float], size: int, slots: list[int], depth: int, reading: bool
) -> Tally:
    count = len(latencies)
    moved = count * size
    return Tally(
        count, count, 0, int(sum(latencies)), int(max(latencies)), moved if reading else 0, 0 if reading else moved,
        phased=count, backstore_sum=int(sum(latencies) * 0.9), waiting_sum=0 if reading else int(sum(latencies) * 0.1),
        sending_sum=int(sum(latencies) * 0.1) if reading else 0,
        histograms={
            "latency": Distribution(0, dict(Counter(map(bucket_of, latencies)))),
            "size": Distribution(0, {bucket_of(size): count}),
            "lba": Distribution(WIDTH, dict(Counter(slots))),
            "seek": Distribution(0, dict(Counter(bucket_of(rng.expovariate(1 / 5e6) + 1) for _ in range(count)))),
            "depth": Distribution(0, {bucket_of(depth): count}),
        },
    )  # fmt: skip


def second(rng: random.Random, disturbed: bool) -> dict[Series, Tally]:
    """What one second counts: 40 reads and 20 writes of 8 KiB of each; and 90 writes of 1 MiB of the culprit's."""
    counted: dict[Series, Tally] = {}
    for client in range(len(CLIENTS)):
        middle = (6 * MS if disturbed else 300 * US) * (1 + client / 12)
        for command, count, factor in (("READ(16)", 40, 1.0), ("WRITE(16)", 20, 1.6)):
            latencies = [rng.lognormvariate(0, 0.35) * middle * factor for _ in range(count)]
            slots = [min(127, int(rng.betavariate(2, 5) * 128)) for _ in range(count)]
            tally = tally_for(rng, latencies, 8192, slots, 4, command == "READ(16)")
            counted[series_for(client, command)] = tally
    if disturbed:
        latencies = [rng.lognormvariate(0, 0.2) * 25 * MS for _ in range(90)]
        slots = [96 + int(rng.random() * 12) for _ in range(90)]
        counted[series_for(CULPRIT, "WRITE(16)")].add(tally_for(rng, latencies, 1 << 20, slots, 32, False))
    return counted


def fill(store: Store, begin: int, end: int, since: int, step: int = 1) -> None:
    """Count from ``begin`` to ``end``; the culprit begins at ``since``. ``step``: seconds that are told at once."""
    rng = random.Random(7)
    last = begin
    for t in range(begin, end, step):
        store.add(SERVER, t, second(rng, t >= since), last)
        last = t + 1
