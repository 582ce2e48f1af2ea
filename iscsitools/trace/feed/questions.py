"""What the trace server asks the target about itself."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any, Protocol

from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.trace.protocol import Message


class SelfDescription(Protocol):
    """Answers for the ``sessions``, ``status``, ``drop`` and ``shutdown`` requests; called on the loop's thread.

    What the first two return is sent as JSON as it is.
    """

    def connections(self) -> Iterable[ConnectionInfo]:
        """Return the connections that are open now."""

    def sessions(self) -> Iterable[dict[str, Any]]:
        """Describe each session; one that is asked for later than another may be as it was then."""

    def status(self) -> dict[str, Any]:
        """Return totals, in-flight counts and CPU time."""

    def drop(self, session: str) -> bool:
        """End a session; False when there is none of that identifier."""

    def shut_down(self) -> None:
        """Begin a clean end of the server."""


class Conversation(Protocol):
    """Whoever waits for the answer to a control request. On the loop's thread."""

    closed: bool
    """It has hung up."""

    def send_message(self, message: Message) -> bool:
        """Tell of progress; False when it is gone."""

    def finish(self, message: Message) -> None:
        """Give the answer: other requests are taken again."""


class ControlHandler(Protocol):
    """Answers the requests of ``requests``, on the control socket only, each when it is done."""

    @property
    def requests(self) -> Container[str]:
        """Their names."""

    def take(self, message: Message, conversation: Conversation) -> None:
        """Begin to answer; ``conversation.finish`` ends it."""


class NoSelfDescription:
    """Stands in where nothing but the probes is known."""

    def connections(self) -> Iterable[ConnectionInfo]:
        """Return none."""
        return ()

    def sessions(self) -> list[dict[str, Any]]:
        """Return none."""
        return []

    def status(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def drop(self, session: str) -> bool:
        """Find none."""
        return False

    def shut_down(self) -> None:
        """Do nothing."""
