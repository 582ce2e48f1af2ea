"""What a document of a server says, and what an initiator finds when it was changed."""

from __future__ import annotations

from typing import Any

from iscsitools.initiator.session import Session

TEST_UNIT_READY = bytes(6)


def luns_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    return document["target"][0]["lun"]


def attention(session: Session, lun: int = 0) -> tuple[int, int] | None:
    """The ASC and ASCQ that a TEST UNIT READY finds; None: it is good."""
    result = session.command(TEST_UNIT_READY, lun)
    return None if result.good else (result.sense[12], result.sense[13])
