"""Samples of a run, and the ratios that are made of them."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from cases import Case
from loadgen import Sample

REFERENCE = "tgtd"
OURS = "iscsitools"
BEFORE = "before"
NEAR_BOUND = 1.3
"""At most so much of the bound is the second thing aimed at."""


@dataclass
class Results:
    """Samples by case and peer, one for each round; the n-th ones of a family were taken one after the other."""

    rounds: int
    seconds: float
    samples: dict[Case, dict[str, list[Sample]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, case: Case, peer: str, sample: Sample) -> None:
        """Add one sample."""
        self.samples.setdefault(case, {}).setdefault(peer, []).append(sample)

    def values(self, case: Case, peer: str) -> list[float]:
        """The case's metric in every round; empty where the peer was not measured."""
        return [getattr(sample, case.metric) for sample in self.samples.get(case, {}).get(peer, [])]

    def over(self, case: Case, peer: str, other: str) -> list[float]:
        """The peer's metric over another one's, round by round."""
        return divided(self.values(case, peer), self.values(case, other))

    def over_plain(self, case: Case, peer: str) -> list[float]:
        """The peer's metric over its own in the case that this one is compared with, round by round."""
        plain = next((other for other in self.samples if other.name == case.plain), None)
        return divided(self.values(case, peer), self.values(plain, peer)) if plain else []

    def ratios(self, case: Case, peer: str) -> list[float]:
        """What the case's goal is compared with: ratios to the reference, or the metric itself."""
        if case.unit == "us":
            return self.values(case, peer)
        return self.over_plain(case, peer) if case.plain else self.over(case, peer, REFERENCE)

    def bound(self, case: Case) -> str:
        """The way of the bound that is aimed at; empty when it was not measured."""
        return next((name for name in case.bounds if self.values(case, name)), "")

    def verdict(self, case: Case) -> str:
        """Whether the lower (``reached``) or the higher one (``bar``) of the two figures aimed at is reached."""
        found = self.ratios(case, OURS)
        if case.goal is None or not found:
            return ""
        aims = [case.goal]
        if (name := self.bound(case)) and case.reference == REFERENCE and case.unit == "ratio":
            aims.append(NEAR_BOUND * median(self.over(case, name, REFERENCE) or [case.goal / NEAR_BOUND]))
        reached = sum(median(found) <= aim for aim in aims)
        return "reached" if reached == len(aims) else "bar" if reached else "no"


def divided(values: Sequence[float], others: Sequence[float]) -> list[float]:
    """Ratios of the n-th of both; a target that used no measurable CPU gives none."""
    return [value / other for value, other in zip(values, others, strict=False) if other]


def machine() -> str:
    """Processor, system and Python in one line."""
    model = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    system = f"{platform.system()} {platform.release()}"
    return f"{os.cpu_count()} x {model}, {system}, Python {platform.python_version()}."


def write_json(results: Results, path: Path) -> None:
    """Every sample, so that others can compute what they like."""
    cases = [
        {
            "case": case.name,
            "metric": case.metric,
            "setting": case.setting.value,
            "compared_with": case.plain or REFERENCE,
            "goal": case.goal,
            "verdict": results.verdict(case),
            "samples": {peer: [s.values() for s in samples] for peer, samples in peers.items()},
            "ratios": {peer: results.ratios(case, peer) for peer in peers},
        }
        for case, peers in results.samples.items()
    ]
    document = {
        "machine": machine(),
        "rounds": results.rounds,
        "seconds": results.seconds,
        "notes": results.notes,
        "cases": cases,
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
