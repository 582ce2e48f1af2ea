"""The typed events that a tracing program gets, live or from a recorded file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from iscsitools.probes.subscribers import Xfer
from iscsitools.probes.table import Info, Probe


@dataclass(frozen=True, slots=True)
class ConnectionStrings:
    """conninfo_t and the string members of iscsiinfo_t, as they were when the event fired."""

    ident: int
    local: str
    remote: str
    protocol: str
    target: str
    initiator: str
    isid: str
    tsih: str
    transport: str


class Event(NamedTuple):
    """One event. ``time``: nanoseconds of the server's monotonic clock; ``info`` of an xfer event has lun, itt, ttt.

    ``cdb``: the first 32 bytes at most; ``cdb_length`` its true length. ``bhs``: the PDU's 48 bytes (``b""`` for an
    xfer event), from which the properties that the probes lack are read. ``sense``: key << 16 | ASC << 8 | ASCQ.
    """

    sequence: int
    time: int
    probe: Probe
    conn: ConnectionStrings
    info: Info
    cdb: bytes
    cdb_length: int
    bhs: bytes
    sense: int
    xfer: Xfer | None
