"""Text Requests: gathered over their PDUs, answered, and the answer sent in pieces (RFC 7143 11.10, 11.11)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from iscsitools.iscsi.errors import RejectError
from iscsitools.probes.firing import TEXT_RESPONSE
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
_WORK_OF_A_BYTE: Final = 192
"""What a byte of text takes of a turn's budget: 512 keys in 2.4 KiB took 0.5 ms, as long as a turn of INQUIRYs does."""


@dataclass(slots=True)
class TextExchange:
    """A Text negotiation that spans several PDUs: what has come, or what is still to be sent (RFC 7143 11.10)."""

    itt: int
    ttt: int = RESERVED_TAG
    received: bytearray = field(default_factory=bytearray)
    answer: bytes | None = None
    """All of the answer, once it is known; ``sent`` bytes of it have been sent."""
    sent: int = 0
    held: int = 0
    """Bytes of it that are in the account."""


def text(conn: Connection, session: Session, pdu: Pdu) -> None:
    """Serve a Text Request: gather its PDUs, answer, and send the answer in pieces (RFC 7143 11.10, 11.11)."""
    final = bool(pdu.flags & Flag.FINAL)
    if final and pdu.flags & Flag.CONTINUE:
        raise RejectError(RejectReason.INVALID_PDU_FIELD, "a Text Request that is final and goes on")
    exchange, responder = conn.text, conn.responder
    assert responder is not None
    if pdu.ttt == RESERVED_TAG:  # what there was of an exchange is forgotten (11.10.4)
        end_exchange(conn)
        exchange = conn.text = TextExchange(pdu.itt)
        responder.begin()
    elif exchange is None or (exchange.itt, exchange.ttt) != (pdu.itt, pdu.ttt):
        raise RejectError(RejectReason.INVALID_PDU_FIELD, "a Text Request continues an exchange that is not there")
    try:
        if exchange.answer is None:
            _gather(conn, exchange, pdu.data)
            if not pdu.flags & Flag.CONTINUE:
                _answer(conn, exchange, responder)
    except RejectError:
        end_exchange(conn)
        raise
    if exchange.answer is None:
        _put_text(conn, exchange, b"", more=False, final=False)
    else:
        _send_text(conn, exchange, exchange.answer, responder, final)


def end_exchange(conn: Connection) -> None:
    """Forget what there is of an exchange."""
    if conn.text is not None:
        conn.memory.release(conn.text.held)
        conn.text = None


def _gather(conn: Connection, exchange: TextExchange, data: memoryview) -> None:
    if len(exchange.received) + len(data) > _MAX_TEXT:
        raise RejectError(RejectReason.LONG_OPERATION_REJECT, "a Text exchange of more than 64 KiB")
    _hold(conn, exchange, len(data))
    exchange.received += data


def _hold(conn: Connection, exchange: TextExchange, length: int) -> None:
    if not conn.memory.reserve(length):
        raise RejectError(RejectReason.LONG_OPERATION_REJECT, "no memory for a Text exchange")
    exchange.held += length


def _answer(conn: Connection, exchange: TextExchange, responder: TextResponder) -> None:
    received = bytes(exchange.received)
    exchange.received.clear()
    conn.spend(_WORK_OF_A_BYTE * len(received))
    answer = responder.answer(received)
    _hold(conn, exchange, len(answer))
    exchange.answer = answer


def _send_text(conn: Connection, exchange: TextExchange, answer: bytes, responder: TextResponder, final: bool) -> None:
    """Send the next piece. ``final``: the F bit of the request; without it the answer has none either (11.11.1).

    All pieces but the last have the C bit (11.11.2). A cut may fall anywhere, also inside a pair.
    """
    piece = answer[exchange.sent : exchange.sent + conn.max_send]
    exchange.sent += len(piece)
    more = exchange.sent < len(answer)
    _put_text(conn, exchange, piece, more=more, final=final and not more)
    if more:
        return
    exchange.answer, exchange.sent = None, 0
    conn.memory.release(exchange.held)
    exchange.held = 0
    if final:
        end_exchange(conn)
        responder.complete()
        conn.set_max_send(conn.parameters.initiator_max_recv_data_segment_length)


def _put_text(conn: Connection, exchange: TextExchange, data: bytes, *, more: bool, final: bool) -> None:
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
