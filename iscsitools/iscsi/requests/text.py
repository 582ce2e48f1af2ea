"""Text Requests: gathered over their PDUs, answered, and the answer sent in pieces (RFC 7143 11.10, 11.11)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from iscsitools.iscsi import text_pairs as keys
from iscsitools.iscsi.errors import RejectError
from iscsitools.probes.sites import TEXT_RESPONSE
from iscsitools.probes.table import Probe
from iscsitools.wire.rfc7143 import (
    ANSWER,
    RESERVED_TAG,
    Flag,
    Opcode,
    Pdu,
    RejectReason,
)

if TYPE_CHECKING:
    from iscsitools.iscsi.connection.connection import Connection
    from iscsitools.iscsi.requests.discovery import TextResponder
    from iscsitools.iscsi.session.session import Session

_MAX_TEXT: Final = 64 << 10
"""Bytes of one Text exchange, over all its PDUs."""


@dataclass(slots=True)
class TextExchange:
    """A Text negotiation that spans several PDUs: what has come, or what is still to be sent (RFC 7143 11.10)."""

    itt: int
    ttt: int = RESERVED_TAG
    received: bytearray = field(default_factory=bytearray)
    pieces: list[bytes] = field(default_factory=list)


def text(conn: Connection, session: Session, pdu: Pdu) -> None:
    """Serve a Text Request: gather its PDUs, answer, and send the answer in pieces (RFC 7143 11.10, 11.11)."""
    final = bool(pdu.flags & Flag.FINAL)
    if final and pdu.flags & Flag.CONTINUE:
        raise RejectError(RejectReason.INVALID_PDU_FIELD, "a Text Request that is final and goes on")
    exchange, responder = conn.text, conn.responder
    assert responder is not None
    if pdu.ttt == RESERVED_TAG:  # what there was of an exchange is forgotten (11.10.4)
        exchange = conn.text = TextExchange(pdu.itt)
        responder.begin()
    elif exchange is None or (exchange.itt, exchange.ttt) != (pdu.itt, pdu.ttt):
        raise RejectError(RejectReason.INVALID_PDU_FIELD, "a Text Request continues an exchange that is not there")
    if exchange.pieces:
        _send_text(conn, session, exchange, responder, final)
        return
    exchange.received += pdu.data
    if len(exchange.received) > _MAX_TEXT:
        conn.text = None
        raise RejectError(RejectReason.LONG_OPERATION_REJECT, "a Text exchange of more than 64 KiB")
    if pdu.flags & Flag.CONTINUE:
        _put_text(conn, session, exchange, b"", more=False, final=False)
        return
    received = bytes(exchange.received)
    exchange.received.clear()
    try:
        answer = responder.answer(received)
    except RejectError:
        conn.text = None
        raise
    exchange.pieces = list(keys.split_text(answer, conn.max_send)) or [b""]
    _send_text(conn, session, exchange, responder, final)


def _send_text(
    conn: Connection, session: Session, exchange: TextExchange, responder: TextResponder, final: bool
) -> None:
    """Send the next piece. ``final``: the F bit of the request; without it the answer has none either (11.11.1)."""
    piece = exchange.pieces.pop(0)
    more = bool(exchange.pieces)
    _put_text(conn, session, exchange, piece, more=more, final=final and not more)
    if final and not more:
        conn.text = None
        responder.complete()
        conn.set_max_send(conn.parameters.initiator_max_recv_data_segment_length)


def _put_text(
    conn: Connection, session: Session, exchange: TextExchange, data: bytes, *, more: bool, final: bool
) -> None:
    if final:
        exchange.ttt = RESERVED_TAG
    elif exchange.ttt == RESERVED_TAG:
        exchange.ttt = conn.next_ttt()
    header = ANSWER.pack(
        Opcode.TEXT_RESPONSE, (Flag.FINAL if final else 0) | (Flag.CONTINUE if more else 0), 0, 0, len(data), 0,
        exchange.itt, exchange.ttt, conn.path.next_statsn(), conn.path.exp_cmdsn, conn.path.max_cmdsn, 0, 0, 0,
    )  # fmt: skip
    if conn.probes.mask & TEXT_RESPONSE:
        conn.probes.pdu(Probe.TEXT_RESPONSE, conn.info, 0, header)
    conn.out.put(header, data)
