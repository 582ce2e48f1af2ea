"""``size``, ``seek`` and ``queue`` as pictures: PNG or SVG, by matplotlib (the extra ``plot``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from iscsitools.trace.sums.histogram import powers
from iscsitools.trace.views.distributions import DistributionKey, Distributions
from iscsitools.trace.views.plot import PlotError
from iscsitools.trace.views.quantize import row_above

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST: Final = 12
"""Pictures on one page; beyond that, those of the fewest commands are left out, and the caption says so."""
_COLORS: Final = {"read": "#1f5fa8", "write": "#c2571a", "other": "#6b6b6b"}


def write_distributions(found: Distributions, title: str, caption: str, path: Path) -> None:
    """Draw a picture for each client, target, unit and operation, all with the same axis. Raises PlotError."""
    from matplotlib.figure import Figure

    if not found:
        raise PlotError("No command has come: there is nothing to plot.")
    busiest = sorted(found, key=lambda key: -sum(found[key].values()))[:_MOST]
    shown = [key for key in found if key in busiest]
    if len(shown) < len(found):
        caption += f"; the busiest {len(shown)} of {len(found)}"
    targets = len({key.target for key in found}) > 1
    rows = {key: powers(found[key]) for key in shown}
    bounds = [min(min(counts) for counts in rows.values())]
    while bounds[-1] < max(max(counts) for counts in rows.values()):
        bounds.append(row_above(bounds[-1]))
    height = -(-len(shown) // 2)
    figure = Figure(figsize=(11, 1 + 2.6 * height), layout="constrained")
    figure.suptitle(f"{title}\n{caption}", fontsize="medium")
    axes = figure.subplots(height, min(len(shown), 2), squeeze=False, sharex=True)
    for axis, key in zip(axes.flat, shown, strict=False):
        _bars(axis, key, rows[key], bounds, targets)
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise PlotError(f"{path}: {error.strerror}") from None


def _bars(axes: Axes, key: DistributionKey, counts: dict[int, int], bounds: Sequence[int], targets: bool) -> None:
    axes.bar(range(len(bounds)), [counts.get(bound, 0) for bound in bounds], color=_COLORS[key.event], width=0.9)
    axes.set_xticks(range(len(bounds)), [short(bound) for bound in bounds], rotation=60, fontsize="x-small")
    axes.tick_params(labelbottom=True)
    axes.set_title(f"{key.text(targets)}: {sum(counts.values())}", fontsize="small")
    axes.set_ylabel("commands")
    axes.grid(True, axis="y", alpha=0.3)


def short(bound: int) -> str:
    """A power of two in few characters: 4096 is 4K."""
    for factor, letter in ((1 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")):
        if abs(bound) >= factor:
            return f"{bound // factor}{letter}"
    return str(bound)
