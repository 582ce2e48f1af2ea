"""Results as text, Markdown and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from cases import Case
from loadgen import Sample
from results import BEFORE, OURS, REFERENCE, Results, machine
from tabulate import tabulate

MARKS = ("<!-- measured -->", "<!-- end of what was measured -->")
"""Between these lines of a document stands what the last run has measured."""
SUMMARY = ("load", "ours", "tgtd", "bound", "of", "ours/tgtd", "bound/tgtd", "ours/plain", "aim", "reached")
DETAILS = ("load", "target", "CPU us/IO", "IOPS", "MB/s", "avg us", "p50 us", "p99 us", "over tgtd", "busy")


def ratio_text(ratios: Sequence[float]) -> str:
    """Median and range."""
    return f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})" if ratios else "-"


def middle_text(values: Sequence[float]) -> str:
    """The median, to three digits or so."""
    if not values:
        return "-"
    value = median(values)
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def bound_text(results: Results, case: Case) -> str:
    """The bound's ratio; of further ways behind it."""
    parts = [
        f"{median(found):.2f}" + ("" if name == case.bounds[0] else f" {name.removeprefix('bound-')}")
        for name in case.bounds
        if (found := results.over(case, name, REFERENCE))
    ]
    return ", ".join(parts) or "-"


def aim_text(case: Case) -> str:
    """The figure aimed at, with what it is a ratio to."""
    if case.goal is None:
        return "-"
    return f"{case.goal:g} us" if case.unit == "us" else f"{case.goal:g}" + (" of plain" if case.plain else "")


def summary_rows(results: Results) -> list[list[str]]:
    """One row for each load."""
    rows = []
    for case in results.samples:
        name = results.bound(case)
        rows.append([
            case.name,
            *(middle_text(results.values(case, peer)) for peer in (OURS, REFERENCE)),
            middle_text(results.values(case, name)) if name else "-",
            "p50" if case.metric == "p50_us" else "CPU",
            ratio_text(results.over(case, OURS, REFERENCE)),
            bound_text(results, case),
            ratio_text(results.over_plain(case, OURS)) if case.plain else "-",
            aim_text(case),
            results.verdict(case) or "-",
        ])  # fmt: skip
    return rows


def middle(samples: Sequence[Sample], name: str) -> float:
    """The median of one value."""
    values: list[float] = [getattr(sample, name) for sample in samples]
    return median(values)


def detail_rows(results: Results) -> list[list[str]]:
    """One row for each load and target: medians of all rounds."""
    return [
        [
            case.name,
            peer,
            f"{middle(samples, 'cpu_us_per_io'):.2f}",
            f"{middle(samples, 'iops'):.0f}",
            f"{middle(samples, 'MBps'):.0f}",
            *(f"{middle(samples, name):.1f}" for name in ("lat_us", "p50_us", "p99_us")),
            "1" if peer == REFERENCE else ratio_text(results.over(case, peer, REFERENCE)),
            f"{middle(samples, 'cpu_pct'):.0f}%",
        ]
        for case, peers in results.samples.items()
        for peer, samples in peers.items()
    ]


def before_rows(results: Results) -> list[list[str]]:
    """What was measured of another checkout too, and the ratio of ours to it."""
    return [
        [
            case.name,
            *(middle_text(results.values(case, peer)) for peer in (OURS, BEFORE)),
            ratio_text(results.over(case, OURS, BEFORE)),
        ]
        for case in results.samples
        if results.values(case, BEFORE)
    ]


def share_rows(results: Results) -> list[list[str]]:
    """For loads over several connections: the slowest connection's I/Os over the fastest one's."""
    return [
        [case.name, peer, f"{median(s.fairness for s in samples):.2f}", f"{min(s.fairness for s in samples):.2f}"]
        for case, peers in results.samples.items()
        if case.connections > 1
        for peer, samples in peers.items()
    ]


def about(results: Results) -> str:
    """How the figures came about, in one paragraph."""
    return (
        f"{results.rounds} interleaved rounds of {results.seconds:g} s; medians in microseconds; "
        f"ratios round by round: median (range). {machine()}"
    )


def render(results: Results, style: str, details: bool = True) -> str:
    """The tables and the notes; ``style`` is one of tabulate's, such as ``simple`` or ``github``."""
    parts = [tabulate(summary_rows(results), SUMMARY, tablefmt=style, disable_numparse=True)]
    if befores := before_rows(results):
        headers = ("load", "ours", "before", "ours/before")
        parts.append(tabulate(befores, headers, tablefmt=style, disable_numparse=True))
    if details:
        parts.append(tabulate(detail_rows(results), DETAILS, tablefmt=style, disable_numparse=True))
    if shares := share_rows(results):
        headers = ("load", "target", "slowest/fastest connection", "worst round")
        parts.append(tabulate(shares, headers, tablefmt=style, disable_numparse=True))
    notes = [f"- {note}" for note in results.notes] if style == "github" else results.notes
    parts += [about(results), "\n".join(notes)]
    return "\n\n".join(part for part in parts if part)


def has_marks(path: Path) -> bool:
    """Whether it is a document with both marks, once, in this order."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError):
        return False
    begin, end = MARKS
    return text.count(begin) == text.count(end) == 1 and text.index(begin) < text.index(end)


def put_into(path: Path, results: Results) -> None:
    """Replace what stands between a document's marks: how it was measured, the table, what was left out."""
    begin, end = MARKS
    before, _, rest = path.read_text().partition(begin)
    _, _, after = rest.partition(end)
    shares = tabulate(
        share_rows(results), ("load", "target", "slowest/fastest connection", "worst round"), tablefmt="github",
        disable_numparse=True,
    )  # fmt: skip
    left_out = [f"- {note}" for note in results.notes if note.startswith("left out")]
    parts = [
        about(results),
        tabulate(summary_rows(results), SUMMARY, tablefmt="github", disable_numparse=True),
        "\n".join(left_out),
        "Several connections at once:\n\n" + shares if share_rows(results) else "",
    ]
    text = "\n\n".join(part for part in parts if part)
    path.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def write_plot(results: Results, path: Path) -> None:
    """For each load, where ours and the bound lie beside tgtd (1), with the range of all rounds, and the aim."""
    import matplotlib  # an extra: only needed for the plot

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cases = [case for case in results.samples if results.over(case, OURS, REFERENCE)][::-1]
    if not cases:
        raise ValueError("nothing to plot: no load was measured against both iscsitools and tgtd")
    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.22 * len(cases)))
    for row, case in enumerate(cases):
        found = results.over(case, OURS, REFERENCE)
        axes.plot([min(found), max(found)], [row, row], color="C0", alpha=0.4)
        axes.plot(median(found), row, "o", color="C0", label=None if row else "iscsitools, with its range")
        for name in case.bounds:
            if bound := results.over(case, name, REFERENCE):
                axes.plot(median(bound), row, "|", color="black", markersize=9)
        if case.goal and not case.plain and case.unit == "ratio":
            axes.plot(case.goal, row, "x", color="C2", markersize=5)
    axes.plot([], [], "|", color="black", label="bound", linestyle="")
    axes.plot([], [], "x", color="C2", label="aim", linestyle="")
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yticks(range(len(cases)), [case.name for case in cases], fontsize=7)
    axes.set_xlabel("CPU per I/O (QD1: median latency) over tgtd's in the same round")
    axes.set_ylim(-1, len(cases))
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
