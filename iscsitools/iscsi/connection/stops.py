"""Why a data path stops, and what it hands over when it does."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

NOT_HERE: Final = 0
ANSWERED: Final = 1
BEGUN: Final = 2
Transfer = tuple[bytes, bytearray | None, int, int, int, int, int, list[tuple[int, int, int, int, int]]]
"""A command that waits for data: header; its buffer, if any byte of it was kept; bytes that are wanted, have come and
were asked for; R2Ts so far; since when it waits; and its sequences (``requests.data_out.Sequence``)."""

Segment = tuple[bytes, memoryview, int, int, int]
"""A long data segment on its way: header, place, how many bytes of it are there; how many are held for it alone; and by
when it has to be there, in monotonic nanoseconds."""


class Stop(IntEnum):
    """Why :meth:`DataPath.consume` stopped at the position that it returned."""

    INCOMPLETE = 0
    """The PDU there has not all come."""
    OTHER = 1
    """It is of no form that is served here, or its gate is closed, or it is out of order."""
    OUTPUT_FULL = 2
    """The output chunk has no room for its answer: it has to be sent first."""
    BUDGET = 3
    """The output that this call might make has been made."""
    CLOSED = 4
    """Its header digest is wrong: the connection cannot go on (RFC 7143 7.8)."""


# Members of an Enum under names of their own: to look one up in its class is a function call, and takes as long as the
# rest of what is done once for an event.
INCOMPLETE: Final = Stop.INCOMPLETE
OTHER: Final = Stop.OTHER
OUTPUT_FULL: Final = Stop.OUTPUT_FULL
BUDGET: Final = Stop.BUDGET
CLOSED: Final = Stop.CLOSED
Turn = tuple[int, int, Stop, int, bool, bool]
"""What a data path's turn has left: where the rest of the input begins and ends, why it was left, and what is left of
the budget; whether the chunk was kept, with output in it; whether nothing will come any more."""
