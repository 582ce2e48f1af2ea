"""``iscsitools size``: how long requests are."""

from __future__ import annotations

from iscsitools.cli.distribution import distribution_command
from iscsitools.trace.views.distributions import SIZE

command = distribution_command(
    SIZE,
    """Report the sizes of requests by client, unit and operation, in bytes.

    Prints a report at Ctrl-C, or every INTERVAL seconds, COUNT times.
    """,
)
