"""A recorded initiator: login, and batches of one form of I/O, made by our initiator's encoders.

A file of pieces, each of which arrives as one readable event: its length in four bytes, then its bytes. An empty piece
is the end of a connection; the next one comes on a new one. The highest bit of the length says that the piece is
Data-Outs that answer R2Ts, whose Target Transfer Tags are still to be filled in: ``feed.py learn`` does that.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from forms import BLOCK, Form

from iscsitools.initiator import DEFAULT_OFFERS, NO_TAG, Opcode, encode_keys, make_bhs
from iscsitools.initiator.pdu_socket import digest, pad
from iscsitools.wire.rfc7143 import Flag, Stage

TARGET = "iqn.2026-11.example:engine"
ATTENTIONS = 3
"""TEST UNIT READY commands before the load, which take the unit attentions of a new nexus."""
STAGES = ((Stage.SECURITY, Stage.OPERATIONAL), (Stage.OPERATIONAL, Stage.FULL_FEATURE))
TO_FILL = 1 << 31
SEGMENT = 262144
"""The target's MaxRecvDataSegmentLength."""


def pdu(bhs: bytes, data: bytes = b"", digests: bool = False) -> bytes:
    """The bytes of one PDU."""
    header = bhs[:5] + len(data).to_bytes(3, "big") + bhs[8:]
    if not digests:
        return header + pad(data)
    return header + digest(header) + (pad(data) + digest(pad(data)) if data else b"")


def login(form: Form) -> list[bytes]:
    """Both stages of a login, one PDU each."""
    names = {"InitiatorName": "iqn.2026-11.example:stream", "SessionType": "Normal", "TargetName": TARGET}
    offers = DEFAULT_OFFERS | form.offers
    requests = []
    for number, ((csg, nsg), keys) in enumerate(zip(STAGES, (names | {"AuthMethod": "None"}, offers), strict=True)):
        flags = (Flag.TRANSIT | csg << 2 | nsg) & ~Flag.CONTINUE
        bhs = make_bhs(
            Opcode.LOGIN_REQUEST, immediate=True, flags=flags, isid=0x400001370000, cid=1, cmd_sn=1, exp_stat_sn=number
        )
        requests.append(pdu(bhs, encode_keys(keys)))
    return requests


def attentions(form: Form) -> list[bytes]:
    """TEST UNIT READY, one PDU each; CmdSN 1 to :data:`ATTENTIONS`."""
    numbers = range(1, ATTENTIONS + 1)
    return [
        pdu(make_bhs(Opcode.SCSI_COMMAND, flags=0x81, itt=n, cmd_sn=n, cdb=bytes(6)), digests=form.digests)
        for n in numbers
    ]


def data_outs(form: Form, itt: int, ttt: int, begin: int, end: int, data: bytes) -> bytes:
    """One sequence of Data-Outs (RFC 7143 11.7)."""
    made = b""
    for number, offset in enumerate(range(begin, end, SEGMENT)):
        stop = min(end, offset + SEGMENT)
        bhs = make_bhs(
            Opcode.DATA_OUT, flags=0x80 if stop == end else 0, itt=itt, ttt=ttt, data_sn=number, buffer_offset=offset
        )
        made += pdu(bhs, data[offset:stop], form.digests)
    return made


def command(form: Form, number: int, blocks: int, data: bytes) -> tuple[int, bytes]:
    """The ITT, and the command with the data that comes without being asked for."""
    count = form.size // BLOCK
    lba = number * 40503 * count % (blocks - blocks % count)
    itt = number % form.depth + 1
    more = form.write and form.unsolicited > form.with_command
    flags = (0 if more else 0x80) | (0x20 if form.write else 0x40) | form.attribute
    bhs = make_bhs(
        Opcode.SCSI_COMMAND, flags=flags, edtl=form.size, itt=itt, cmd_sn=number + ATTENTIONS + 1,
        exp_stat_sn=len(STAGES) + ATTENTIONS + number - number % form.depth, cdb=form.cdb(lba),
    )  # fmt: skip
    made = pdu(bhs, data[: form.with_command], form.digests)
    if more:
        made += data_outs(form, itt, NO_TAG, form.with_command, form.unsolicited, data)
    return itt, made


def batches(form: Form, count: int, blocks: int) -> Iterator[tuple[int, bytes]]:
    """``count`` commands, as many as go into one event together; behind them the data that R2Ts ask for."""
    data = bytes(range(256)) * (form.size // 256) if form.write else b""
    for first in range(0, count, form.depth):
        batch = solicited = b""
        for number in range(first, min(first + form.depth, count)):
            itt, made = command(form, number, blocks, data)
            batch += made
            if form.write and form.unsolicited < form.size:
                solicited += data_outs(form, itt, 0, form.unsolicited, form.size, data)
        yield 0, batch
        if solicited:
            yield TO_FILL, solicited


def logins(form: Form, count: int) -> Iterator[tuple[int, bytes]]:
    """``count`` connections that log in and out."""
    log_out = pdu(make_bhs(Opcode.LOGOUT_REQUEST, immediate=True, flags=0x80, itt=1, cmd_sn=1, cid=1))
    for _ in range(count):
        yield from ((0, piece) for piece in [*login(form), log_out, b""])


def pieces(form: Form, count: int, blocks: int) -> list[tuple[int, bytes]]:
    """All pieces of ``count`` I/Os, each behind its mark."""
    if form.login:
        return list(logins(form, count))
    return [(0, piece) for piece in [*login(form), *attentions(form)]] + list(batches(form, count, blocks))


def record(path: Path, form: Form, few: int, many: int, blocks: int) -> int:
    """Write ``few`` and then ``many`` I/Os of a form to a file; returns how many pieces come before the many."""
    with path.open("wb") as file:
        for mark, piece in pieces(form, few + many, blocks):
            file.write((mark | len(piece)).to_bytes(4, "big") + piece)
    return len(pieces(form, few, blocks))
