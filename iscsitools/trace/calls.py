"""Calls for the call sites that pass on only what belongs to one LUN."""

from __future__ import annotations

from iscsitools.probes.sites import ConnectionInfo, PduCall, XferCall


def of_lun(wanted: int | None, pdu: PduCall, xfer: XferCall, always: int = 0) -> tuple[PduCall, XferCall]:
    """Wrap two calls in a test of the LUN, which probes in the mask ``always`` pass; None leaves them as they are."""
    if wanted is None:
        return pdu, xfer

    def pdu_of_lun(
        probe: int,
        conn: ConnectionInfo,
        lun: int,
        buffer: bytes | bytearray | memoryview,
        offset: int = 0,
        cdb: bytes = b"",
        sense: int = 0,
    ) -> None:
        if lun == wanted or always >> probe & 1:
            pdu(probe, conn, lun, buffer, offset, cdb, sense)

    def xfer_of_lun(
        probe: int, conn: ConnectionInfo, lun: int, itt: int, ttt: int, laddr: int, loffset: int, length: int, kind: int
    ) -> None:
        if lun == wanted:
            xfer(probe, conn, lun, itt, ttt, laddr, loffset, length, kind)

    return pdu_of_lun, xfer_of_lun
