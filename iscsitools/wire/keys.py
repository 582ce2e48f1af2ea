"""The table of text keys (RFC 7143 chapters 12 and 13): who sends them, when, by which rule, and what is allowed.

The negotiation and the documentation read this table; nothing else knows a key's rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Rule(Enum):
    """How a key's result is found (RFC 7143 6.2)."""

    DECLARATIVE = "declarative"
    """One side says it, the other does not answer."""
    LIST = "list"
    """The first offered member that the responder accepts."""
    AND = "and"
    """Yes if both say Yes."""
    OR = "or"
    """Yes if one says Yes."""
    MIN = "min"
    """The smaller number."""
    MAX = "max"
    """The larger number."""
    AUTHENTICATION = "authentication"
    """A step of the chosen method's exchange (RFC 7143 chapter 12)."""
    OBSOLETE = "obsolete"
    """A key of RFC 3720 that must still not be answered NotUnderstood (RFC 7143 13.25)."""


class Type(Enum):
    """What a key's value is."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    LIST = "list"


class Side:
    """Who may send a key. Bits, for each key of each login is tested: one ``&`` of two Flags takes 1 us."""

    INITIATOR: Final = 1
    TARGET: Final = 2
    BOTH: Final = 3


class When:
    """When a key may be sent; bits, as :class:`Side`."""

    SECURITY: Final = 1
    OPERATIONAL: Final = 2
    FULL_FEATURE: Final = 4
    LOGIN: Final = 3
    ANY: Final = 7


@dataclass(frozen=True, slots=True)
class TextKey:
    """One key. ``low`` and ``high`` bound a NUMBER, both included; ``default`` is its text when nobody says it.

    ``leading`` keys belong to the session and come on its first connection only; ``normal_only`` ones mean nothing in
    a discovery session. ``attribute`` names the field of ``Parameters`` and ``NegotiationLimits`` that holds it.
    """

    name: str
    section: str
    rule: Rule
    when: int
    type: Type = Type.TEXT
    sender: int = Side.BOTH
    default: str = ""
    low: int = 0
    high: int = 0
    leading: bool = False
    normal_only: bool = False
    attribute: str = ""


def _declared(name: str, section: str, when: int, sender: int, *, leading: bool = True, default: str = "") -> TextKey:
    return TextKey(name, section, Rule.DECLARATIVE, when, sender=sender, leading=leading, default=default)


def _digest(name: str, attribute: str) -> TextKey:
    return TextKey(name, "13.1", Rule.LIST, When.OPERATIONAL, Type.LIST, default="None", attribute=attribute)


def _number(name: str, section: str, rule: Rule, default: int, low: int, high: int, attribute: str) -> TextKey:
    return TextKey(
        name, section, rule, When.OPERATIONAL, Type.NUMBER, default=str(default), low=low, high=high, leading=True,
        normal_only=name not in _IN_DISCOVERY, attribute=attribute,
    )  # fmt: skip


def _boolean(name: str, section: str, rule: Rule, attribute: str) -> TextKey:
    return TextKey(
        name, section, rule, When.OPERATIONAL, Type.BOOLEAN, default="Yes", leading=True, normal_only=True,
        attribute=attribute,
    )  # fmt: skip


def _chap(name: str) -> TextKey:
    return TextKey(name, "12.1.3", Rule.AUTHENTICATION, When.SECURITY)


def _obsolete(name: str) -> TextKey:
    return TextKey(name, "13.25", Rule.OBSOLETE, When.ANY)


# Session-wide numbers that RFC 7143 does not call irrelevant in a discovery session.
_IN_DISCOVERY: Final = ("DefaultTime2Wait", "DefaultTime2Retain", "ErrorRecoveryLevel")
_MAX_LENGTH: Final = (1 << 24) - 1

_KEYS: Final = (
    TextKey("AuthMethod", "12", Rule.AUTHENTICATION, When.SECURITY, Type.LIST, default="None"),
    _chap("CHAP_A"),
    _chap("CHAP_I"),
    _chap("CHAP_C"),
    _chap("CHAP_N"),
    _chap("CHAP_R"),
    _digest("HeaderDigest", "header_digest"),
    _digest("DataDigest", "data_digest"),
    _number("MaxConnections", "13.2", Rule.MIN, 1, 1, 65535, "max_connections"),
    _declared("SendTargets", "13.3", When.FULL_FEATURE, Side.INITIATOR),
    _declared("TargetName", "13.4", When.LOGIN, Side.INITIATOR, leading=False),
    _declared("InitiatorName", "13.5", When.LOGIN, Side.INITIATOR, leading=False),
    _declared("TargetAlias", "13.6", When.ANY, Side.TARGET),
    _declared("InitiatorAlias", "13.7", When.ANY, Side.INITIATOR, leading=False),
    _declared("TargetAddress", "13.8", When.ANY, Side.TARGET),
    _declared("TargetPortalGroupTag", "13.9", When.LOGIN, Side.TARGET),
    _boolean("InitialR2T", "13.10", Rule.OR, "initial_r2t"),
    _boolean("ImmediateData", "13.11", Rule.AND, "immediate_data"),
    TextKey(
        "MaxRecvDataSegmentLength",
        "13.12",
        Rule.DECLARATIVE,
        When.ANY,
        Type.NUMBER,
        default="8192",
        low=512,
        high=_MAX_LENGTH,
        attribute="max_recv_data_segment_length",
    ),
    _number("MaxBurstLength", "13.13", Rule.MIN, 262144, 512, _MAX_LENGTH, "max_burst_length"),
    _number("FirstBurstLength", "13.14", Rule.MIN, 65536, 512, _MAX_LENGTH, "first_burst_length"),
    _number("DefaultTime2Wait", "13.15", Rule.MAX, 2, 0, 3600, "default_time2wait"),
    _number("DefaultTime2Retain", "13.16", Rule.MIN, 20, 0, 3600, "default_time2retain"),
    _number("MaxOutstandingR2T", "13.17", Rule.MIN, 1, 1, 65535, "max_outstanding_r2t"),
    _boolean("DataPDUInOrder", "13.18", Rule.OR, "data_pdu_in_order"),
    _boolean("DataSequenceInOrder", "13.19", Rule.OR, "data_sequence_in_order"),
    _number("ErrorRecoveryLevel", "13.20", Rule.MIN, 0, 0, 2, "error_recovery_level"),
    _declared("SessionType", "13.21", When.LOGIN, Side.INITIATOR, leading=False, default="Normal"),
    TextKey(
        "TaskReporting",
        "13.23",
        Rule.LIST,
        When.OPERATIONAL,
        Type.LIST,
        default="RFC3720",
        leading=True,
        normal_only=True,
        attribute="task_reporting",
    ),
    _number("iSCSIProtocolLevel", "13.24", Rule.MIN, 1, 0, 31, "protocol_level"),
    _obsolete("IFMarker"),
    _obsolete("OFMarker"),
    _obsolete("IFMarkInt"),
    _obsolete("OFMarkInt"),
)
KEYS: Final = {key.name: key for key in _KEYS}
"""Every key by its name. A name that is not here is answered NotUnderstood."""
