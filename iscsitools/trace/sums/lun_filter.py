"""Calls for the call sites that pass on only what belongs to one LUN."""

from __future__ import annotations

from iscsitools.probes.subscribers import Buffer, Calls, ConnectionInfo


def of_lun(wanted: int | None, calls: Calls, always: int = 0) -> Calls:
    """Wrap calls in a test of the LUN, which probes in the mask ``always`` pass; None leaves them as they are."""
    if wanted is None:
        return calls
    pdu, xfer = calls.pdu, calls.xfer

    def pdu_of_lun(
        probe: int, conn: ConnectionInfo, lun: int, buffer: Buffer, offset: int = 0, cdb: bytes = b"", sense: int = 0
    ) -> None:
        if lun == wanted or always >> probe & 1:
            pdu(probe, conn, lun, buffer, offset, cdb, sense)

    def xfer_of_lun(
        probe: int, conn: ConnectionInfo, lun: int, itt: int, ttt: int, laddr: int, loffset: int, length: int, kind: int
    ) -> None:
        if lun == wanted:
            xfer(probe, conn, lun, itt, ttt, laddr, loffset, length, kind)

    return Calls(pdu_of_lun, xfer_of_lun)
