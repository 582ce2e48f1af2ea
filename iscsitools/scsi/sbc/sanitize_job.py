"""What one SANITIZE does to the medium, as steps and as a text that outlives the server (SBC-3 5.24, 4.11)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from iscsitools.backstores.asynchronous import Operation, Request, flush_request, write_request
from iscsitools.backstores.base import Backstore
from iscsitools.scsi.core.executor import Steps
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.scsi.sbc.pieces import in_pieces

BLOCK_ERASE: Final = 0x02
CRYPTO_ERASE: Final = 0x03
OVERWRITE: Final = 0x01
_STEP: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class SanitizeJob:
    """``action``: the service action. ``may_leave``: AUSE. The others are of OVERWRITE: what, how often, and INVERT."""

    action: int
    may_leave: bool = False
    pattern: bytes = b""
    count: int = 1
    invert: bool = False

    def total(self, unit: LogicalUnit) -> int:
        """The bytes that all passes work on."""
        return self.count * unit.blocks * unit.block_size

    def steps(self, unit: LogicalUnit) -> Steps:
        """From the first block again: who has done a part of it before does not matter."""
        if self.action == CRYPTO_ERASE:
            yield flush_request()
            yield _KeyChange(Operation.FLUSH)
            return
        if self.action == BLOCK_ERASE:
            yield from in_pieces(partial(Request, Operation.DISCARD), 0, unit.blocks * unit.block_size)
            yield flush_request()
            return
        for pattern in self._passes():
            block = (pattern * (unit.block_size // len(pattern) + 1))[: unit.block_size]
            piece = memoryview(block * (_STEP // unit.block_size))
            yield from in_pieces(partial(_write, piece), 0, unit.blocks * unit.block_size)
            yield flush_request()

    def _passes(self) -> Iterator[bytes]:
        pattern = self.pattern
        for _ in range(self.count):
            yield pattern
            if self.invert:
                pattern = bytes(byte ^ 0xFF for byte in pattern)

    def to_text(self, unit: LogicalUnit) -> str:
        """With what tells this disk from another one that gets its name later."""
        return json.dumps(
            {
                "disk": _disk(unit),
                "action": self.action,
                "may_leave": self.may_leave,
                "pattern": self.pattern.hex(),
                "count": self.count,
                "invert": self.invert,
            }
        )

    @classmethod
    def from_text(cls, text: str, unit: LogicalUnit) -> SanitizeJob:
        """Raises ValueError: it is none, or it was begun on another disk than the unit's."""
        document = json.loads(text)
        try:
            disk = document["disk"]
            job = cls(
                int(document["action"]), bool(document["may_leave"]), bytes.fromhex(document["pattern"]),
                int(document["count"]), bool(document["invert"]),
            )  # fmt: skip
        except (KeyError, TypeError) as error:
            raise ValueError(f"it is no sanitize operation ({type(error).__name__}: {error})") from None
        if job.action not in (BLOCK_ERASE, CRYPTO_ERASE) and not (
            job.action == OVERWRITE and job.pattern and job.count > 0
        ):
            raise ValueError(f"there is no sanitize operation {job.action} like this")
        if disk != _disk(unit):
            raise ValueError(f"it was begun on another disk ({disk})")
        return job


def _disk(unit: LogicalUnit) -> str:
    return f"{unit.store.own_identity or unit.store.identity}, {unit.blocks * unit.block_size} bytes"


def _write(piece: memoryview, at: int, length: int) -> Request:
    return write_request(at, piece[:length])


class _KeyChange(Request):
    """The step that changes the key. It is always performed, never submitted; as a flush, it works on no block."""

    def perform(self, store: Backstore) -> None:
        """Do it now."""
        store.crypto_erase()
