"""A small iSCSI initiator for scripts, tests and benchmarks: a second, independent reading of RFC 7143.

Its encoders are its own, so that an error of the target's cannot hide behind the same error here. Only the standard
library is needed (google_crc32c is used when it is there): ``python3 -m iscsitools.initiator --help``.
"""

from iscsitools.initiator.load import Plan, Totals, run_load
from iscsitools.initiator.login import LoginError
from iscsitools.initiator.pdu import NO_TAG, Log, Opcode, Pdu, make_bhs
from iscsitools.initiator.session import Session
from iscsitools.initiator.tasks import Result
from iscsitools.initiator.wire import ConnectionClosedError, DigestError, ProtocolError, Wire

__all__ = [
    "NO_TAG",
    "ConnectionClosedError",
    "DigestError",
    "Log",
    "LoginError",
    "Opcode",
    "Pdu",
    "Plan",
    "ProtocolError",
    "Result",
    "Session",
    "Totals",
    "Wire",
    "make_bhs",
    "run_load",
]
