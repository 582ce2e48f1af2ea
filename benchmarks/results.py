"""Medians, spreads and ratios of samples; as text, Markdown, JSON and a plot."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from loadgen import Case, Sample
from tabulate import tabulate

REFERENCE = "tgtd"


@dataclass
class Results:
    """Samples by case and peer, one for each round; the n-th of two peers were taken one after the other."""

    rounds: int
    seconds: float
    samples: dict[Case, dict[str, list[Sample]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, case: Case, peer: str, sample: Sample) -> None:
        """Add one sample."""
        self.samples.setdefault(case, {}).setdefault(peer, []).append(sample)

    def ratios(self, case: Case, peer: str) -> list[float]:
        """The peer's metric over the reference's, round by round; empty without a reference."""
        reference = self.samples[case].get(REFERENCE, [])
        return [
            getattr(ours, case.metric) / getattr(theirs, case.metric)
            for ours, theirs in zip(self.samples[case][peer], reference, strict=False)
        ]


HEADERS = ("load", "target", "CPU us/IO", "IOPS", "MB/s", "avg us", "p50 us", "p99 us", "ratio to tgtd", "of")


def middle(samples: Sequence[Sample], name: str) -> float:
    """The median of one value."""
    values: list[float] = [getattr(sample, name) for sample in samples]
    return median(values)


def ratio_text(ratios: Sequence[float]) -> str:
    """Median and range."""
    return f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})" if ratios else "-"


def rows(results: Results) -> list[list[str]]:
    """The table: medians of all rounds, and the ratio with its range."""
    table = []
    for case, peers in results.samples.items():
        for peer, samples in peers.items():
            ratio = "1" if peer == REFERENCE else ratio_text(results.ratios(case, peer))
            numbers = [
                f"{middle(samples, 'cpu_us_per_io'):.2f}",
                f"{middle(samples, 'iops'):.0f}",
                f"{middle(samples, 'MBps'):.0f}",
                *(f"{middle(samples, name):.1f}" for name in ("lat_us", "p50_us", "p99_us")),
            ]
            of = "p50" if case.metric == "p50_us" else "CPU"
            table.append([case.name, peer, *numbers, ratio, of])
    return table


def fairness_rows(results: Results) -> list[list[str]]:
    """For loads over several connections: the slowest connection's I/Os over the fastest one's."""
    return [
        [case.name, peer, f"{median(s.fairness for s in samples):.2f}", f"{min(s.fairness for s in samples):.2f}"]
        for case, peers in results.samples.items()
        if case.connections > 1
        for peer, samples in peers.items()
    ]


def render(results: Results, style: str) -> str:
    """Both tables and the notes; ``style`` is one of tabulate's, such as ``simple`` or ``github``."""
    parts = [tabulate(rows(results), HEADERS, tablefmt=style, disable_numparse=True)]
    if fair := fairness_rows(results):
        headers = ("load", "target", "slowest/fastest connection", "worst round")
        parts.append(tabulate(fair, headers, tablefmt=style, disable_numparse=True))
    about = f"{results.rounds} interleaved rounds of {results.seconds:g} s; medians; ratio: median (range). {machine()}"
    parts.append("\n".join([about, *results.notes]))
    return "\n\n".join(parts)


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


def write_plot(results: Results, path: Path) -> None:
    """Bars of CPU per I/O (median latency for QD1) by load and target, with the range of all rounds."""
    import matplotlib  # an extra: only needed for the plot

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(results.samples), figsize=(2.4 * len(results.samples), 4))
    for axis, (case, peers) in zip([axes] if len(results.samples) == 1 else axes, results.samples.items(), strict=True):
        values = [[getattr(s, case.metric) for s in samples] for samples in peers.values()]
        middles = [median(v) for v in values]
        spread = [[m - min(v) for m, v in zip(middles, values, strict=True)]]
        spread.append([max(v) - m for m, v in zip(middles, values, strict=True)])
        axis.bar(range(len(peers)), middles, yerr=spread, color=[f"C{i}" for i in range(len(peers))], capsize=3)
        axis.set_xticks(range(len(peers)), list(peers), rotation=60)
        axis.set_title(case.name, fontsize=9)
        axis.set_ylabel("median latency, us" if case.metric == "p50_us" else "CPU per I/O, us", fontsize=8)
    figure.suptitle(f"Medians and ranges of {results.rounds} rounds")
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
