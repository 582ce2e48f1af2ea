"""``iscsitools queue``: how many commands initiators keep under way."""

from __future__ import annotations

from iscsitools.cli.distribution import distribution_command
from iscsitools.trace.views.distributions import QUEUE

command = distribution_command(
    QUEUE,
    """Report how many commands initiators have under way when they send one.

    That one is included; they are counted by connection.

    Prints a report at Ctrl-C, or every INTERVAL seconds, COUNT times.
    """,
)
