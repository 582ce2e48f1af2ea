"""POPULATE TOKEN and WRITE USING TOKEN (SBC-3 5.7, 5.36)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from iscsitools.scsi.copy.manager import Copies, CopyKind, Known
from iscsitools.scsi.copy.operation import CopyOperation
from iscsitools.scsi.copy.rights import READING, Party
from iscsitools.scsi.copy.segment import Segment
from iscsitools.scsi.copy.tokens import (
    ACCESS_UPON_REFERENCE,
    DEFAULT_TIMEOUT,
    LENGTH,
    LONGEST_TIMEOUT,
    Token,
    Tokens,
    zeros_token,
)
from iscsitools.scsi.core.cdb import Buffer, u16, u32, u64
from iscsitools.scsi.core.errors import (
    ScsiError,
    illegal_request,
    invalid_parameter,
    parameter_list_length_error,
)
from iscsitools.scsi.core.executor import Elsewhere
from iscsitools.scsi.core.task import Task
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.wire.sense import Asc

MOST_RANGES: Final = 64
MOST_BYTES: Final = 1 << 36
"""What one token stands for at most."""
_RANGE: Final = 16
_IMMED, _RTV, _DEL_TKN = 0x01, 0x02, 0x02
_POPULATE_HEADER: Final = 16
_WRITE_HEADER: Final = 536
_TOKEN_AT: Final = 16
POPULATE_TOKEN: Final = 0x10
WRITE_USING_TOKEN: Final = 0x11

Ranges = tuple[tuple[int, int], ...]


def check_populate_token(task: Task) -> None:
    """POPULATE TOKEN: the header, and at least one range; no list asks for nothing."""
    _take_list(task, _POPULATE_HEADER)


def check_write_using_token(task: Task) -> None:
    """WRITE USING TOKEN: likewise."""
    _take_list(task, _WRITE_HEADER)


def _take_list(task: Task, header: int) -> None:
    length = u32(task.cdb, 10)
    if 0 < length < header or length > 1 << 16:
        raise parameter_list_length_error()
    task.take(length)


def populate_token(task: Task) -> None:
    """POPULATE TOKEN: a token for the blocks, to be fetched by RECEIVE ROD TOKEN INFORMATION."""
    data, unit, identifier = task.parameters(), task.unit, u32(task.cdb, 6)
    if not data:
        return
    copies = Copies.of(unit)
    copies.check_free(task.nexus, CopyKind.LID4, identifier)
    timeout = u32(data, 4) or DEFAULT_TIMEOUT
    if timeout > LONGEST_TIMEOUT:
        raise invalid_parameter(4, 7)
    if data[2] & _RTV and u32(data, 8) != ACCESS_UPON_REFERENCE:
        raise invalid_parameter(8, 7)
    ranges = _ranges(unit, data, _POPULATE_HEADER)
    token = Token(Party(task.nexus, unit), ranges, timeout)
    if token.bytes > MOST_BYTES:
        raise invalid_parameter(_POPULATE_HEADER, 7)
    operation = CopyOperation(token.maker, ())
    text = unit.domain.part(Tokens).make(token)
    operation.begin()
    operation.copied = token.bytes
    copies.keep(
        task.nexus, CopyKind.LID4, identifier, Known(POPULATE_TOKEN, operation, (text,), bool(data[2] & _IMMED))
    )


def _ranges(unit: LogicalUnit, data: Buffer, header: int) -> Ranges:
    """The block device range descriptors behind a header of a list (SBC-3 5.7.3)."""
    length = u16(data, header - 2)
    if u16(data, 0) + 2 < header + _RANGE:
        raise invalid_parameter(0, 7)
    if length < _RANGE or length % _RANGE:
        raise invalid_parameter(header - 2, 7)
    if header + length > min(len(data), u16(data, 0) + 2):
        raise parameter_list_length_error()
    if length > MOST_RANGES * _RANGE:
        raise illegal_request(Asc.TOO_MANY_SEGMENT_DESCRIPTORS)
    ranges = tuple((u64(data, at), u32(data, at + 8)) for at in range(header, header + length, _RANGE))
    if any(lba + blocks > unit.blocks for lba, blocks in ranges):
        raise illegal_request(Asc.LBA_OUT_OF_RANGE)
    in_order = sorted(each for each in ranges if each[1])
    for (lba, blocks), (following, _) in pairwise(in_order):
        if lba + blocks > following:
            raise invalid_parameter(header, 7)
    return ranges


def write_using_token(task: Task) -> Elsewhere | None:
    """WRITE USING TOKEN: what the token stands for is written to the ranges."""
    data, unit, identifier = task.parameters(), task.unit, u32(task.cdb, 6)
    if not data:
        return None
    copies, tokens = Copies.of(unit), unit.domain.part(Tokens)
    copies.check_free(task.nexus, CopyKind.LID4, identifier)
    ranges = _ranges(unit, data, _WRITE_HEADER)
    text = bytes(data[_TOKEN_AT : _TOKEN_AT + LENGTH])
    offset = u64(data, 8) * unit.block_size
    party = Party(task.nexus, unit)
    if text == zeros_token():
        operation = CopyOperation(party, _zeros(unit, ranges), foreign=False)
    else:
        token = tokens.find(text)
        segments = _segments(token, offset, unit, ranges)
        _check_source(token)
        if data[2] & _DEL_TKN:
            tokens.delete(text)
        operation = CopyOperation(party, segments, token.maker, foreign=False)
    known = Known(WRITE_USING_TOKEN, operation, in_background=bool(data[2] & _IMMED))
    return copies.begin(task, known, CopyKind.LID4, identifier)


def _check_source(token: Token) -> None:
    """Who made it may read all of it now; else it is revoked. The operation looks again before each piece."""
    for lba, blocks in token.ranges:
        try:
            token.maker.permitted(token.maker.unit, READING, lba, blocks)
        except ScsiError:
            raise illegal_request(Asc.TOKEN_REVOKED) from None


def _zeros(unit: LogicalUnit, ranges: Ranges) -> list[Segment]:
    size = unit.block_size
    return [
        Segment(None, 0, unit, lba * size, blocks * size, number)
        for number, (lba, blocks) in enumerate(ranges)
        if blocks
    ]


def _segments(token: Token, offset: int, unit: LogicalUnit, ranges: Sequence[tuple[int, int]]) -> list[Segment]:
    """Lay the token's bytes from ``offset`` on, range by range, over the ranges that are written."""
    source = token.maker.unit
    if offset + sum(blocks for _, blocks in ranges) * unit.block_size > token.bytes:
        raise invalid_parameter(8, 7)
    pieces: list[Segment] = []
    sources = [(lba * source.block_size, blocks * source.block_size) for lba, blocks in token.ranges]
    for number, (lba, blocks) in enumerate(ranges):
        at, left, position = lba * unit.block_size, blocks * unit.block_size, 0
        for start, length in sources:
            skipped = max(0, offset - position)
            n = min(left, length - skipped)
            if n > 0:
                if n % source.block_size or n % unit.block_size or (start + skipped) % source.block_size:
                    raise illegal_request(Asc.COPY_SEGMENT_GRANULARITY_VIOLATION)
                pieces.append(Segment(source, start + skipped, unit, at, n, number))
                at, left, offset = at + n, left - n, offset + n
            position += length
    return pieces
