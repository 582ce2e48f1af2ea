"""An iSCSI initiator for scripts, tests and benchmarks: a second, independent reading of RFC 7143.

It shares with the target the numbers that the standards give (``iscsitools.wire``), and nothing else: encoders,
negotiation and checks are its own, so that an error of the target's cannot hide behind the same error here. Only the
standard library is needed (google_crc32c is used when it is there). docs/initiator.md shows how it is used;
``python3 -m iscsitools.initiator --help`` is a load of exact numbers.
"""

from iscsitools.initiator.channel import Address, Channel
from iscsitools.initiator.discovery import DiscoveredTarget, discover
from iscsitools.initiator.errors import (
    CommandError,
    ConnectionClosedError,
    DigestError,
    InitiatorError,
    LoginError,
    ProtocolError,
)
from iscsitools.initiator.load import WAYS, Plan, Totals, run_load
from iscsitools.initiator.login import DEFAULT_OFFERS, Agreed, decode_pairs, encode_keys
from iscsitools.initiator.pdu import FIELDS, NO_TAG, Log, Pdu, encode_lun, make_bhs
from iscsitools.initiator.pdu_socket import PduSocket
from iscsitools.initiator.result import Result
from iscsitools.initiator.session import CommandOptions, HeaderFields, Session
from iscsitools.initiator.tasks import Task, checked
from iscsitools.wire.rfc7143 import Opcode

__all__ = [
    "DEFAULT_OFFERS",
    "FIELDS",
    "NO_TAG",
    "WAYS",
    "Address",
    "Agreed",
    "Channel",
    "CommandError",
    "CommandOptions",
    "ConnectionClosedError",
    "DigestError",
    "DiscoveredTarget",
    "HeaderFields",
    "InitiatorError",
    "Log",
    "LoginError",
    "Opcode",
    "Pdu",
    "PduSocket",
    "Plan",
    "ProtocolError",
    "Result",
    "Session",
    "Task",
    "Totals",
    "checked",
    "decode_pairs",
    "discover",
    "encode_keys",
    "encode_lun",
    "make_bhs",
    "run_load",
]
