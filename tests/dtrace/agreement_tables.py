"""Checks, as those of :mod:`agreement`, of iscsilat.d, iscsiseek.d, iscsireserve.d and iscsilogin.d."""

from __future__ import annotations

import re
from collections import Counter

from dtrace.agreement import DisagreementError, Scene, same
from dtrace.reports import logins, quantized, reservations, rows
from iscsitools.wire.operations import SERVICE_ACTIONS

_RESERVE_OUT = 0x5F


def latencies(of: Scene) -> int:
    """iscsilat.d: how many commands by operation and size; percents that rise along a row."""
    found = rows(of.printed("iscsilat"), 2)
    expected: Counter[tuple[str, str]] = Counter()
    for (_, key), count in of.by_client("sizes").items():
        event, size = key.split()
        expected[event, size] += count
    for key, (_, *percents) in found.items():
        if percents != sorted(percents) or percents[-1] > 100:
            raise DisagreementError(f"{key}: {percents} are no percents")
    return same({key: numbers[0] for key, numbers in found.items()}, dict(expected))


def seeks(of: Scene) -> int:
    """iscsiseek.d."""
    text = of.printed("iscsiseek")
    expected = {client: all_of["seeks"] for client, all_of in of.done.items()}
    table = {(c, "0"): (n["count"], 100 * n["sequential"] // n["count"]) for c, n in expected.items()}
    same(rows(text.partition("Distance")[0], 2), table)
    distances = {f"{client} 0": numbers["count"] for client, numbers in expected.items()}
    return same(quantized(text, "Distance (blocks),"), distances)


def reserved(of: Scene) -> int:
    """iscsireserve.d: the lines of reservations, and the table of what they kept out."""
    text = of.printed("iscsireserve")
    found = re.findall(r"^   (\S+) +0 +(read|write) +(\d+)$", text, re.M)
    compared = same({(client, event): int(n) for client, event, n in found}, of.by_client("refused"))
    names = {str(action): SERVICE_ACTIONS[_RESERVE_OUT, action].removeprefix("PR OUT ") for action in range(8)}
    expected = {(client, names[action]): n for (client, action), n in of.by_client("reservations").items()}
    return compared + same(dict(reservations(text)), expected)


def logged_in(of: Scene) -> int:
    """iscsilogin.d: the line of each login, and the table."""
    text = of.printed("iscsilogin")
    expected = of.by_client("logins")
    compared = same(rows(text, 2), {key: (count,) for key, count in expected.items()})
    results = {(c, "security" if key == "failed" else key): n for (c, key), n in expected.items() if key != "begun"}
    return compared + same(dict(logins(text)), results)
