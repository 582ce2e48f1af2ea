"""READs and WRITEs at random, as dense as an initiator sends them, not all of them right."""

from __future__ import annotations

import random
from dataclasses import dataclass

from engine.harness import Wire
from engine.test_forms import read6, read10, read12, read16

from iscsitools.initiator.pdu import NO_TAG, Pdu, encode_lun

SIZE = 4 << 20
"""Of a disk."""
BLOCKS = SIZE // 512
LENGTHS = (0, 1, 1, 7, 8, 8, 8, 16, 32, 64, 128, 255, 256, 300, 512, 700, 1024, 1500)


@dataclass
class Maker:
    """What an initiator sends: what may come unasked, and with a command, is as its keys say."""

    rng: random.Random
    immediate: int
    unasked: int
    busy: int | None = None
    """The tag of a task of the session whose turn it is, if it has one."""

    def answer(self, wire: Wire, r2t: Pdu) -> bytes:
        """The Data-Outs of one R2T."""
        end = r2t.buffer_offset + r2t.desired_length + self.rng.choice((0,) * 60 + (-4, 512))
        return self.data_outs(wire, r2t.itt, r2t.buffer_offset, end, r2t.ttt)

    def data_outs(self, wire: Wire, itt: int, begin: int, end: int, ttt: int = NO_TAG) -> bytes:
        """A sequence of Data-Outs, hardly ever with one that is missing, or has something wrong."""
        rng, out = self.rng, bytearray()
        step = rng.choice((512, 4096, 8192, 9000, 65536, 262144))
        for sn, offset in enumerate(range(begin, end, step)):
            data = rng.randbytes(min(step, end - offset))
            wrong = rng.random()
            pdu = wire.data_out(
                itt, data, offset + 4 * (wrong < 0.002), ttt=ttt, sn=sn + (wrong > 0.998), final=offset + step >= end
            )
            out += b"" if 0.5 < wrong < 0.502 else self.spoiled(wire, pdu)
        return bytes(out)

    def one(self, wire: Wire) -> bytes:
        rng = self.rng
        make = rng.choice((read6, read10, read10, read10, read10, read12, read16, read16))
        blocks = rng.choice(LENGTHS)
        writes = rng.random() < 0.5
        if writes and rng.random() < 0.7:
            blocks = min(blocks, self.immediate // 512)
        lba = rng.choice(
            (rng.randrange(BLOCKS), rng.randrange(BLOCKS - 2000), 0, 8 * rng.randrange(900), BLOCKS - blocks)
        )
        blocks = min(blocks, 255) if make is read6 else blocks
        cdb = bytearray(make(lba & 0x1FFFFF, blocks, rng.choice((0,) * 8 + (0x10, 0x08, 0x18, 0x20, 0x01))))
        if rng.random() < 0.03:
            cdb[rng.randrange(len(cdb))] ^= 1 << rng.randrange(8)
        blocks = blocks or (256 if make is read6 else 0)
        edtl = rng.choice((blocks * 512,) * 30 + (0, blocks * 512 + 100))
        attribute = rng.choice((1,) * 12 + (0, 2, 3))
        fields: dict[str, int] = {"edtl": edtl, "flags": (0xA0 if writes else 0xC0) | attribute}
        if rng.random() < 0.05:
            busy = wire.itt if self.busy is None else self.busy
            fields |= rng.choice(
                (
                    {"itt": busy},
                    {"itt": busy},
                    {"lun": encode_lun(1)},
                    {"itt": wire.itt},
                    {"itt": NO_TAG},
                    {"flags": 0xE1},
                )
            )
        if writes:
            cdb[0] |= 2
            return self.write(wire, bytes(cdb), edtl, fields)
        return self.spoiled(wire, wire.request(bytes(cdb), **fields))

    def write(self, wire: Wire, cdb: bytes, edtl: int, fields: dict[str, int]) -> bytes:
        """With all of its data, or as much as may come unasked, or less: the rest by R2Ts."""
        rng = self.rng
        data = rng.randbytes(min(edtl, self.immediate, rng.choice((1 << 24,) * 6 + (4096, 512, 0, 0))))
        unasked = min(edtl, self.unasked)
        if len(data) >= unasked or rng.random() < 0.4:
            return self.spoiled(wire, wire.request(cdb, write=data, **fields))
        fields["flags"] &= 0x7F
        command = wire.request(cdb, write=data, **fields)
        return self.spoiled(wire, command) + self.data_outs(wire, fields.get("itt", wire.itt), len(data), unasked)

    def spoiled(self, wire: Wire, pdu: bytes) -> bytes:
        """Mostly as it is; a wrong digest, a command out of its turn, or one that comes late."""
        chance = self.rng.random()
        if chance < 0.01 and wire.data_digest and any(pdu[5:8]):
            return pdu[:-1] + bytes([pdu[-1] ^ 1]) + pdu  # and the right one, or nothing would go on
        if chance < 0.0105 and wire.header_digest:
            return pdu[:48] + bytes([pdu[48] ^ 1]) + pdu[49:]
        if chance < 0.02 and not any(pdu[5:8]):
            return wire.request(read10(0, 1), read=512) + pdu  # this one's turn is over: it comes after the next
        return pdu
