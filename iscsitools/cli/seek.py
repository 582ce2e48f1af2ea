"""``iscsitools seek``: how far requests are from one another."""

from __future__ import annotations

from iscsitools.cli.distribution import distribution_command
from iscsitools.trace.views.distributions import SEEK

command = distribution_command(
    SEEK,
    """Report how far from the end of the one before it each request begins, in blocks.

    0 is sequential; negative is backwards. The one before it is that of the same connection and unit, whatever it was.

    Prints a report at Ctrl-C, or every INTERVAL seconds, COUNT times.
    """,
)
