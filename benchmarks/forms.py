"""The forms of I/O whose instructions are counted: how each command and its data stand on the wire."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from cases import size_text

SIMPLE, ORDERED, HEAD_OF_QUEUE = 1, 2, 3
FUA, DPO = 0x08, 0x10
BLOCK = 512
BURST = 262144


@dataclass(frozen=True)
class Form:
    """One form; ``login``: the whole of a login is one I/O."""

    name: str
    write: bool = False
    size: int = 4096
    cdb_size: int = 10
    cdb_flags: int = 0
    attribute: int = SIMPLE
    segment: int = BURST
    first_burst: int = BURST
    immediate: bool = True
    initial_r2t: bool = False
    digests: bool = False
    login: bool = False

    @property
    def depth(self) -> int:
        """Commands in one readable event: 32 of the small ones, at most 256 KiB of data."""
        return 1 if self.login else max(1, min(32, BURST // self.size))

    @property
    def offers(self) -> dict[str, str]:
        """What the initiator offers instead of its defaults."""
        digest = "CRC32C" if self.digests else "None"
        return {
            "MaxRecvDataSegmentLength": str(self.segment),
            "FirstBurstLength": str(self.first_burst),
            "ImmediateData": "Yes" if self.immediate else "No",
            "InitialR2T": "Yes" if self.initial_r2t else "No",
            "HeaderDigest": digest,
            "DataDigest": digest,
        }

    @property
    def with_command(self) -> int:
        """Bytes of a write that come as immediate data."""
        return min(self.size, self.first_burst) if self.immediate else 0

    @property
    def unsolicited(self) -> int:
        """Where the data that comes without being asked for ends."""
        return self.with_command if self.initial_r2t else min(self.size, self.first_burst)

    def cdb(self, lba: int) -> bytes:
        """READ or WRITE (SBC-3 5.10 to 5.13, 5.30 to 5.33)."""
        operation, count = (0x0A if self.write else 0x08), self.size // BLOCK
        if self.cdb_size == 6:
            return struct.pack(">BBHBB", operation, lba >> 16, lba & 0xFFFF, count, 0)
        if self.cdb_size == 12:
            return struct.pack(">BBIIBB", 0xA0 | operation, self.cdb_flags, lba, count, 0, 0)
        if self.cdb_size == 16:
            return struct.pack(">BBQIBB", 0x80 | operation, self.cdb_flags, lba, count, 0, 0)
        return struct.pack(">BBIBHB", 0x20 | operation, self.cdb_flags, lba, 0, count, 0)

    @property
    def answer_bytes(self) -> int:
        """Bytes of the answers to one I/O, digests and R2Ts left out: what it gets at least."""
        if self.write or self.login:
            return 48
        return self.size + 48 * -(-self.size // self.segment)


def _variants() -> Iterator[Form]:
    for write in (False, True):
        kind = "write" if write else "read"
        for size in (4096, 8192, 16384, 32768, 65536, 262144):
            yield Form(f"{size_text(size)} {kind}", write, size)
        yield Form(f"4K {kind}, DPO", write, cdb_flags=DPO)
        yield Form(f"4K {kind}, FUA", write, cdb_flags=FUA)
        yield Form(f"4K {kind}, ORDERED", write, attribute=ORDERED)
        yield Form(f"4K {kind}, HEAD OF QUEUE", write, attribute=HEAD_OF_QUEUE)
        for cdb_size in (6, 12, 16):
            yield Form(f"4K {kind}, {kind.upper()}({cdb_size})", write, cdb_size=cdb_size)
        yield Form(f"4K {kind}, both digests", write, digests=True)
    yield Form("64K read, MaxRecvDataSegmentLength 8K", size=65536, segment=8192)
    yield Form("1M read, MaxRecvDataSegmentLength 256K", size=1 << 20)
    yield Form("4K write, no immediate data", True, immediate=False)
    yield Form("4K write, R2T", True, immediate=False, initial_r2t=True)
    yield Form("256K write, FirstBurst 64K", True, BURST, first_burst=65536)
    yield Form("login", login=True)


FORMS = tuple(_variants())
USUAL = ("4K read", "4K write")
