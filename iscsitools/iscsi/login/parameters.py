"""What a login can agree on: our limits, the parameters that come of it, and each key's result of both sides' values.

The order in which that is said, and what is refused, is the negotiation's (``negotiation.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Final

from iscsitools.iscsi import text_pairs as text
from iscsitools.iscsi.errors import TextError
from iscsitools.iscsi.login.precedents import Precedents
from iscsitools.wire.keys import KEYS, Rule, TextKey, Type

_NEVER_OFFERED: Final = frozenset({"DefaultTime2Retain"})

Value = int | bool | str
"""What a key can have for its value, as this side keeps it."""

# Members of an Enum under names of their own: to look one up in its class is a function call, and there are ten of them
# for each key of each login.
_DECLARATIVE: Final = Rule.DECLARATIVE
_AND: Final = Rule.AND
_MAX: Final = Rule.MAX
_LIST: Final = Type.LIST
_BOOLEAN: Final = Type.BOOLEAN


@dataclass(frozen=True, slots=True)
class NegotiationLimits:
    """What this target accepts. Lengths are bytes, times seconds.

    For numbers it is the value that we put into MIN and MAX, for booleans ours, for lists all that is acceptable.
    """

    header_digest: tuple[str, ...] = ("None", "CRC32C")
    data_digest: tuple[str, ...] = ("None", "CRC32C")
    max_connections: int = 1
    initial_r2t: bool = False
    immediate_data: bool = True
    max_recv_data_segment_length: int = 262144
    max_burst_length: int = 1048576
    first_burst_length: int = 262144
    default_time2wait: int = 0
    default_time2retain: int = 20
    max_outstanding_r2t: int = 16
    data_pdu_in_order: bool = True
    data_sequence_in_order: bool = True
    error_recovery_level: int = 0
    task_reporting: tuple[str, ...] = ("ResponseFence", "RFC3720")
    protocol_level: int = 1
    beyond: tuple[TextKey, ...] = field(init=False, repr=False, compare=False)
    """The keys whose default is not acceptable to us, to be offered by us when the initiator does not."""
    precedents: Precedents = field(init=False, repr=False, compare=False)
    """What negotiations under these limits have come to."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "precedents", Precedents())
        object.__setattr__(self, "beyond", tuple(key for key in KEYS.values() if _default_is_beyond(self, key)))


@dataclass(slots=True)
class Parameters:
    """The result, with RFC 7143's defaults. Lengths are bytes, times seconds."""

    header_digest: bool = False
    data_digest: bool = False
    max_connections: int = 1
    initial_r2t: bool = True
    immediate_data: bool = True
    max_recv_data_segment_length: int = 8192
    """The most that the initiator may send to us in one PDU: our declaration."""
    initiator_max_recv_data_segment_length: int = 8192
    """The most that we may send to the initiator in one PDU: its declaration."""
    max_burst_length: int = 262144
    first_burst_length: int = 65536
    default_time2wait: int = 2
    default_time2retain: int = 20
    max_outstanding_r2t: int = 1
    data_pdu_in_order: bool = True
    data_sequence_in_order: bool = True
    error_recovery_level: int = 0
    task_reporting: str = "RFC3720"
    protocol_level: int = 1


values_of: Final = attrgetter(*(each.name for each in fields(Parameters)))
"""What a copy of Parameters is made of: copy.copy takes three times as long."""


def _default_is_beyond(limits: NegotiationLimits, key: TextKey) -> bool:
    """A key's default would not be acceptable to us."""
    if not key.attribute or key.rule is _DECLARATIVE or key.name in _NEVER_OFFERED:
        return False
    result = result_of(limits, key, key.default)
    return result is None or encode(result) != key.default


def result_of(limits: NegotiationLimits, key: TextKey, value: str) -> Value | None:
    """The rule's result of the initiator's value and our limit; None when no member of a list is acceptable."""
    ours = getattr(limits, key.attribute)
    if key.type is _LIST:
        for member in text.parse_list(value):
            if member in ours:
                return member
        return None
    if key.type is _BOOLEAN:
        theirs = text.parse_boolean(value)
        return bool(theirs and ours) if key.rule is _AND else bool(theirs or ours)
    number = in_range(key, value)
    return max(number, int(ours)) if key.rule is _MAX else min(number, int(ours))


def in_range(key: TextKey, value: str) -> int:
    """Read a number; TextError when it is none, or not one that the key may have."""
    number = text.parse_number(value)
    if not key.low <= number <= key.high:
        raise TextError(f"{key.name}={value} is not between {key.low} and {key.high}")
    return number


def encode(value: Value) -> str:
    """A value as it is said on the wire."""
    return text.encode_boolean(value) if isinstance(value, bool) else str(value)
