"""Streams of PDUs that are almost right, from a seed: what the fuzz test feeds to the engine.

A stream is made against an engine of its own, so that it can answer R2Ts; then its bytes are fed to others.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from iscsitools.initiator import NO_TAG, Opcode, Pdu, encode_lun, make_bhs

from .harness import INITIATOR, IQN, KEYS, Wire, read10, write10

_PAIRS = """
HeaderDigest=CRC32C,None DataDigest=None MaxRecvDataSegmentLength=512 InitialR2T=No FirstBurstLength=0x200
MaxBurstLength=513 MaxConnections=65536 ErrorRecoveryLevel=2 TaskReporting=FastAbort X-org.example=1 AuthMethod=CHAP
CHAP_A=5,7 CHAP_R=0x00 CHAP_N=u CHAP_I=1 CHAP_C=0x = IFMarker=Yes OFMarkInt=Reject TargetAlias=x InitiatorAlias=\u00e9
SessionType=None SendTargets=All DefaultTime2Wait=3601 AuthMethod=None InitialR2T=Irrelevant
"""
TEXTS = (
    *(f"{pair}\0".encode() for pair in _PAIRS.split()),
    b"CHAP_N=u\0CHAP_R=0b=\0CHAP_I=1\0CHAP_C=0x\0",
    b"InitiatorAlias=\xff\0",
    b"\0\0\0",
    b"a" * 64 + b"=b\0",
    b"x=" + b"y" * 900,
)
NAMES = f"InitiatorName={INITIATOR}\0TargetName={IQN}\0".encode()
STEPS = 110


def login_stream(rng: random.Random) -> bytes:
    """Login Requests: the names first, mostly, then keys of every kind, in pieces, with stages that mostly fit."""
    out = bytearray()
    stage = rng.choice((0, 0, 1))
    isid, itt = rng.randrange(3), rng.randrange(1 << 32)
    for step in range(rng.randrange(1, 10)):
        text = b"".join(rng.choices(TEXTS, k=rng.choice((0, 1, 1, 2, 6))))
        if step == 0 and rng.random() < 0.95:
            text = NAMES + text
        upto = rng.choice((0, 0, 0, 1, 3, 3))
        flags = (0x80 | upto if upto > stage else 0) | stage << 2 | (0x40 if rng.random() < 0.1 else 0)
        bhs = make_bhs(
            Opcode.LOGIN_REQUEST, immediate=True, flags=flags, isid=isid, cid=1, cmd_sn=5, itt=itt,
            data_length=len(text),
        )  # fmt: skip
        out += (damaged(rng, bhs) if rng.random() < 0.05 else bhs) + text + bytes(-len(text) & 3)
        stage = upto if flags & 0xC0 == 0x80 else stage
        if stage == 3:
            break
    if rng.random() < 0.2:
        out += rng.randbytes(rng.randrange(200))
    return bytes(out)


def damaged(rng: random.Random, bhs: bytes) -> bytes:
    """The header with one byte changed, seldom one of the lengths: the stream would end with it."""
    found = bytearray(bhs)
    at = rng.randrange(48)
    if 4 <= at < 8 and rng.random() < 0.9:
        at += 4
    found[at] = rng.choice((0, 1, 0x40, 0x80, 0xFF, rng.randrange(256)))
    return bytes(found)


class FullFeature:
    """The stream of one connection in the full feature phase. ``wire``: the engine that it is made against."""

    def __init__(self, rng: random.Random, wire: Wire) -> None:
        self.rng = rng
        self.wire = wire
        self.r2ts: list[Pdu] = []
        self.kinds: tuple[tuple[Callable[[], bytes], int], ...] = (
            (self.read, 10), (self.write, 14), (self.answer, 14), (self.data_out, 4), (self.ping, 3), (self.text, 4),
            (self.management, 4), (self.logout, 1), (self.extended, 2), (self.stray, 1), (self.unknown_cdb, 1),
        )  # fmt: skip

    def stream(self) -> bytes:
        """The bytes of so many steps, or until the connection ends; then those of one more command."""
        makers, weights = zip(*self.kinds, strict=True)
        out = bytearray(self.wire.request(bytes(6)))
        self.take(bytes(out))
        late: list[bytes] = []
        for _ in range(STEPS):
            if self.wire.conn.close_reason:
                break
            pdu = self.rng.choices(makers, weights)[0]()
            if late or self.rng.random() > 0.1:
                pdu = self.spoiled(pdu) + b"".join(late)
                late.clear()
                self.take(pdu)
                out += pdu
            else:
                late.append(pdu)
        return bytes(out) + self.wire.request(bytes(6))

    def take(self, data: bytes) -> None:
        """See what the bytes are answered with."""
        self.wire.feed(data)
        self.r2ts += [pdu for pdu in self.wire.receive() if pdu.opcode == Opcode.R2T]

    def spoiled(self, pdu: bytes) -> bytes:
        """The PDU as it is, mostly. After one with a wrong byte comes the right one, or nothing would go on."""
        wire, chance = self.wire, self.rng.random()
        if chance < 0.1 and not pdu[4]:
            bhs = damaged(self.rng, pdu[:48])
            at = 52 if wire.header_digest else 48  # with its digest, or that would be all that is found
            return wire.seal(bhs)[:at] + pdu[at:] + pdu
        if chance < 0.103:
            return pdu[:-1]
        if chance < 0.12 and wire.data_digest and any(pdu[5:8]):
            return pdu[:-1] + bytes([pdu[-1] ^ 1]) + pdu
        return pdu

    def command(self, cdb: bytes, **how: int | bytes) -> bytes:
        """A SCSI Command that may have the wrong LUN, tag or number."""
        rng, wire = self.rng, self.wire
        number = wire.cmd_sn
        if rng.random() < 0.05:
            how["lun"] = rng.choice((encode_lun(1), encode_lun(300), 1, 0xC101000000000000))
        if rng.random() < 0.05:
            how["itt"] = rng.choice((wire.itt, 1, 0xFFFFFFFE))
        if rng.random() < 0.05:
            how["cmd_sn"] = (number + rng.choice((-1, 1, 2, 127, 200))) & 0xFFFFFFFF
        pdu = wire.request(cdb, **how)
        wire.cmd_sn = number if "cmd_sn" in how else wire.cmd_sn
        return pdu

    def read(self) -> bytes:
        blocks = self.rng.choice((0, 1, 2, 16, 40))
        edtl = self.rng.choice((blocks * 512,) * 5 + (0, 511, 9000))
        flags = self.rng.choice((0xC1,) * 8 + (0xC0, 0xC2, 0xE1, 0xA1, 0x41, 0x81))
        return self.command(read10(self.rng.choice((0, 8, 8000, 8191)), blocks), edtl=edtl, flags=flags)

    def write(self) -> bytes:
        rng = self.rng
        length = rng.choice((0, 1, 1, 2, 4, 18)) * 512
        sent = rng.choice((length, length, 0, 0, 512, 511, 1))
        edtl = rng.choice((length,) * 5 + (0, length + 100))
        flags = rng.choice((0xA1,) * 6 + (0x21, 0x21, 0xA2, 0xE1, 0xC1))
        cdb = write10(rng.choice((0, 1, 4000, 8191)), length // 512, rng.random() < 0.1)
        return self.command(cdb, write=rng.randbytes(sent), edtl=edtl, flags=flags)

    def answer(self) -> bytes:
        """The data that an R2T asks for, mostly; in one PDU or several."""
        if not self.r2ts:
            return self.data_out()
        rng = self.rng
        r2t = self.r2ts.pop(rng.choice((0, -1)))
        end = r2t.buffer_offset + r2t.desired_length + rng.choice((0,) * 12 + (-1, 512))
        step = rng.choice((100, 512, 8195, 65536))
        out = bytearray()
        for sn, offset in enumerate(range(r2t.buffer_offset, end, step)):
            data = rng.randbytes(min(step, end - offset))
            out += self.wire.data_out(r2t.itt, data, offset, ttt=r2t.ttt, sn=sn, final=offset + step >= end)
        return bytes(out) or self.data_out()

    def data_out(self) -> bytes:
        """A Data-Out that may belong to a command, or to nothing."""
        rng = self.rng
        itt = max(0, self.wire.itt - rng.choice((0, 0, 0, 1, 9)))
        data = rng.randbytes(rng.choice((0, 1, 512, 512, 512, 1024, 9000)))
        offset, ttt, sn = rng.choice((0, 0, 512, 1024)), rng.choice((NO_TAG, NO_TAG, 1, 2, 9)), rng.choice((0, 0, 0, 1))
        return self.wire.data_out(itt, data, offset, ttt=ttt, sn=sn, final=rng.random() < 0.7)

    def immediate(self, opcode: int, data: bytes = b"", **fields: int) -> bytes:
        bhs = make_bhs(opcode, immediate=True, cmd_sn=self.wire.cmd_sn, data_length=len(data), **fields)
        return self.wire.seal(bhs, data)

    def ping(self) -> bytes:
        data = self.rng.randbytes(self.rng.choice((0, 3, 3, 3, 9000)))
        return self.immediate(Opcode.NOP_OUT, data, itt=self.rng.choice((7, NO_TAG)), ttt=NO_TAG)

    def management(self) -> bytes:
        """Mostly ABORT TASK: of a command that was sent, or of one that never came."""
        rng, wire = self.rng, self.wire
        function = rng.choice((1,) * 12 + (0, 2, 3, 4, 5, 5, 6, 7, 8, 9, 0x7F))
        back = rng.choice((0, 0, 1, 3))
        tags = {"rtt": max(0, wire.itt - back), "ref_cmd_sn": max(0, wire.cmd_sn - 1 - back)}
        return self.immediate(Opcode.TASK_REQUEST, flags=0x80 | function, itt=0x7000, lun=encode_lun(0), **tags)

    def text(self) -> bytes:
        rng = self.rng
        data = b"".join(rng.choices((*TEXTS, b"SendTargets=\0"), k=rng.choice((0, 1, 2))))
        flags, ttt = rng.choice((0x80, 0x80, 0x40, 0, 0xC0)), rng.choice((NO_TAG, NO_TAG, *range(1, 6)))
        return self.immediate(Opcode.TEXT_REQUEST, data, flags=flags, itt=0x6000, ttt=ttt)

    def logout(self) -> bytes:
        reason, cid = self.rng.choice(((1, 2), (2, 1), (2, 2), (3, 1), (0x7F, 1), (0, 1)))
        return self.immediate(Opcode.LOGOUT_REQUEST, flags=0x80 | reason, itt=0x5000, cid=cid)

    def extended(self) -> bytes:
        """A command with additional header segments, sound and not."""
        rng = self.rng
        some = (b"\0\x05\x02\0\0\0\x02\0", b"\0\x11\x01\0" + bytes(16), bytes(4), rng.randbytes(4 * rng.randrange(256)))
        ahs = rng.choice(some)
        bhs = bytearray(self.wire.request(read10(0, 1), read=512)[:48])
        bhs[4] = len(ahs) // 4
        return self.wire.seal(bytes(bhs) + ahs)

    def stray(self) -> bytes:
        """What has no place here: SNACK, Login Request, opcodes that nobody knows."""
        bhs = bytearray(self.rng.randbytes(48))
        bhs[0] = self.rng.choice((0x10, 0x43, 0x07, 0x1F, 0x20, 0x25, 0x3F, 0x5C))
        bhs[4:8] = bytes(4)
        return self.wire.seal(bytes(bhs))

    def unknown_cdb(self) -> bytes:
        flags, edtl = self.rng.choice((0x81, 0xC1, 0xA1)), self.rng.choice((0, 24, 4096))
        return self.command(self.rng.randbytes(16), edtl=edtl, flags=flags)


def keys(rng: random.Random) -> dict[str, str]:
    """What a login of the full feature streams asks for."""
    pick = rng.choice
    return KEYS | {
        "HeaderDigest": pick(("None", "CRC32C")),
        "DataDigest": pick(("None", "CRC32C")),
        "InitialR2T": pick(("Yes", "No")),
        "ImmediateData": pick(("Yes", "Yes", "No")),
        "MaxRecvDataSegmentLength": pick(("512", "8195", "65536")),
        "FirstBurstLength": pick(("512", "1000", "65536")),
        "MaxBurstLength": pick(("1025", "4096", "262144")),
        "MaxOutstandingR2T": pick(("1", "3")),
    }
