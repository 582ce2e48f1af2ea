"""A small iSCSI initiator for tests: a second, independent reading of RFC 7143.

It imports nothing of the project, so that an error of the target's encoders cannot hide behind the same error here.
Only the standard library is needed (google_crc32c is used when it is there), so it also runs in a bare guest machine:
``python3 -m initiator --help`` from the directory above.
"""

from .load import Plan, Totals, run_load
from .login import LoginError
from .pdu import NO_TAG, Log, Opcode, Pdu, make_bhs
from .session import Session
from .tasks import Result
from .wire import ConnectionClosedError, DigestError, ProtocolError, Wire

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
