"""Page 8Fh, Third-party Copy (SPC-4 7.8.17, SBC-3 6.6.5): what the copy manager takes."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from iscsitools.scsi.copy.descriptors import MOST_BLOCKS, SUPPORTED
from iscsitools.scsi.copy.extended_copy import MOST_CSCDS, MOST_DESCRIPTORS, MOST_SEGMENTS
from iscsitools.scsi.copy.manager import MOST_AT_ONCE
from iscsitools.scsi.copy.token_commands import MOST_BYTES, MOST_RANGES
from iscsitools.scsi.copy.tokens import ACCESS_UPON_REFERENCE, DEFAULT_TIMEOUT, LONGEST_TIMEOUT, ZEROS
from iscsitools.scsi.core.task import Task

PAGE: Final = 0x8F
_COMMANDS: Final = (0x83, 0x84)
_OPTIMAL: Final = 64 << 20
_TOKEN_IN, _TOKEN_OUT = 0x02, 0x01


def _descriptor(kind: int, body: bytes) -> bytes:
    body = body.ljust(-(-len(body) // 4) * 4, b"\0")
    return struct.pack(">HH", kind, len(body)) + body


def _commands(task: Task) -> bytes:
    found: dict[int, list[int]] = {opcode: [] for opcode in _COMMANDS}
    for command in task.unit.commands:
        if command.opcode in found and command.service_action is not None:
            found[command.opcode].append(command.service_action)
    body = b"".join(bytes([opcode, len(actions), *actions]) for opcode, actions in found.items())
    return bytes([len(body)]) + body


def _rod_types(types: Iterable[tuple[int, int]]) -> bytes:
    body = b"".join(struct.pack(">IBxH56x", kind, flags, 0) for kind, flags in types)
    return struct.pack(">HH", 0, len(body)) + body


def third_party_copy(task: Task) -> bytes:
    """The page."""
    size = task.unit.block_size
    exponent = size.bit_length() - 1
    body = b"".join(
        (
            _descriptor(
                0x0000,
                struct.pack(
                    ">6xHIIQQ", MOST_RANGES, LONGEST_TIMEOUT, DEFAULT_TIMEOUT, MOST_BYTES // size, _OPTIMAL // size
                ),
            ),
            _descriptor(0x0001, _commands(task)),
            _descriptor(0x0004, struct.pack(">4xHHII12x", MOST_CSCDS, MOST_SEGMENTS, MOST_DESCRIPTORS, 0)),
            _descriptor(0x0008, bytes([len(SUPPORTED)]) + SUPPORTED),
            _descriptor(0x0106, struct.pack(">B11xIII18xH", 0, 0, 0, LONGEST_TIMEOUT, 0)),
            _descriptor(
                0x0108, _rod_types([(ACCESS_UPON_REFERENCE, _TOKEN_IN | _TOKEN_OUT), (ZEROS, _TOKEN_IN)])
            ),
            _descriptor(
                0x8001, struct.pack(">IIIBB18x", MOST_AT_ONCE, MOST_AT_ONCE, MOST_BLOCKS * size, exponent, 0)
            ),
            _descriptor(0xC001, struct.pack(">IB23x", 0, 0)),
        )
    )  # fmt: skip
    return struct.pack(">BBH", 0, PAGE, len(body)) + body
