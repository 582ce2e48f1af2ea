"""What fairness.py has found: of a good initiator beside each flood, and of ten equal ones; as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from results import machine
from tabulate import tabulate

CPU_AIM = 5.0
"""Milliseconds of the server's CPU between question and answer, at most."""
SHARE_AIM = 0.8


@dataclass
class Answers:
    """What the good initiator saw, in milliseconds, and what became of the flood."""

    flood: str
    latency: list[float]
    cpu: list[float]
    """The server's, between question and answer."""
    seconds: float
    sent: int = 0
    received: int = 0
    closed: int = 0
    """How often the server closed a connection of the flood."""
    trouble: str = ""

    @property
    def reached(self) -> bool:
        """Whether the aim is reached in all but one of a hundred questions."""
        return not self.trouble and bool(self.cpu) and percentile(self.cpu, 99) <= CPU_AIM


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that so many per cent do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


@dataclass
class Shares:
    """Of ten connections that do the same: the least over the most, in each round."""

    load: str
    shares: list[float]


FLOOD_HEADERS = (
    "beside", "questions", "median ms", "p99 ms", "server CPU, median ms", "p99 ms", "flood MB/s", "closed", "5 ms",
)  # fmt: skip


def flood_rows(measured: Sequence[Answers]) -> list[list[str]]:
    """One row for each flood."""
    rows = []
    for found in measured:
        times = [
            f"{value:.2f}"
            for values in (found.latency, found.cpu)
            for value in ((median(values), percentile(values, 99)) if values else ())
        ] or ["-"] * 4
        rate = f"{(found.sent + found.received) / found.seconds / 1e6:.2f}" if found.sent else "-"
        verdict = found.trouble or ("reached" if found.reached else "no")
        rows.append([found.flood, str(len(found.latency)), *times, rate, str(found.closed), verdict])
    return rows


def render(measured: Sequence[Answers], shares: Sequence[Shares], style: str) -> str:
    """Both tables."""
    parts = []
    if measured:
        parts.append(tabulate(flood_rows(measured), FLOOD_HEADERS, tablefmt=style, disable_numparse=True))
    if shares:
        rows = [
            [
                s.load,
                f"{median(s.shares):.2f}",
                f"{min(s.shares):.2f}",
                "reached" if min(s.shares) >= SHARE_AIM else "no",
            ]
            for s in shares
        ]
        headers = ("ten equal connections", "slowest/fastest", "worst round", f"{SHARE_AIM:g}")
        parts.append(tabulate(rows, headers, tablefmt=style, disable_numparse=True))
    parts.append(f"A good initiator reads 4 KiB, one at a time. {machine()}")
    return "\n\n".join(parts)
