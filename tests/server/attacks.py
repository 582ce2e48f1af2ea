"""Attacks on a running server, each a round that can be repeated: what its sockets are is returned, to be closed."""

from __future__ import annotations

import json
import random
import socket
import struct

from support.target import RunningTarget

from iscsitools.initiator import NO_TAG, Opcode, Session, make_bhs
from iscsitools.trace import Sums

from .attack_sessions import BAD, NAME, Closes, at_once, begun, each, flood, sessions
from .harness import TEST_UNIT_READY, read10, write10

BURST = 256 << 10


# -- data and commands


def reads_nothing(target: RunningTarget) -> list[Closes]:
    return each(target, 24, lambda s: [begun(s, n, 0, 1024, read10(0, 1024), 0xC1) for n in range(60)])


def reads_nothing_by_workers(target: RunningTarget) -> list[Closes]:
    return each(target, 24, lambda s: [begun(s, n, 1, 16384, read10(0, 16384), 0xC1) for n in range(60)])


def sends_one_byte_of_data(target: RunningTarget) -> list[Closes]:
    return each(target, 24, lambda s: [begun(s, 0, 0, 16384, write10(0, 16384), 0xA1, 65536), b"x"])


def sends_no_data_in_order(target: RunningTarget) -> list[Closes]:
    return each(target, 24, lambda s: [begun(s, n, 0, 512, write10(0, 512), 0xA1) for n in range(60)])


def sends_no_data_at_once(target: RunningTarget) -> list[Closes]:
    def immediate(session: Session) -> list[bytes]:
        pdus = [begun(session, n, 1, 2048, write10(0, 2048), 0xA1) for n in range(1000)]
        return [bytes([pdu[0] | 0x40]) + pdu[1:] for pdu in pdus]

    return each(target, 10, immediate)


def sends_data_of_nobody(target: RunningTarget) -> list[Closes]:
    data = make_bhs(Opcode.DATA_OUT, flags=0, itt=77, ttt=NO_TAG, data_length=BURST) + bytes(BURST)
    return each(target, 20, lambda _: [data] * 4)


def leaves_out_one(target: RunningTarget) -> list[Closes]:
    data = bytes(8192)
    return each(target, 20, lambda s: [begun(s, n, 0, 16, write10(0, 16), 0xA1, 8192) + data for n in range(1, 60)])


def sends_out_of_the_window(target: RunningTarget) -> list[Closes]:
    """Nobody answers those (RFC 7143 4.2.2.1), and sums are kept meanwhile, which see each of them begin."""
    with Sums(socket=target.runtime / "iscsitools" / f"{NAME}.watch"):
        return each(target, 40, lambda s: [begun(s, 100_000 + n, 0, 8, read10(0, 8), 0xC1) for n in range(4000)])


def asks_units_that_are_not_there(target: RunningTarget) -> list[Closes]:
    return each(target, 20, lambda s: [begun(s, n, 2 + n, 0, TEST_UNIT_READY, 0x81) for n in range(100)])


def reserves_and_resets(target: RunningTarget) -> list[Closes]:
    """PERSISTENT RESERVE OUT (REGISTER AND IGNORE EXISTING KEY), VERIFY of 1 MiB, INQUIRY, LOGICAL UNIT RESET."""
    register = struct.pack(">BBBHIB", 0x5F, 6, 0, 0, 24, 0)
    verify = struct.pack(">BBIBHB", 0x2F, 0, 0, 0, 2048, 0)
    command = Opcode.SCSI_COMMAND

    def mixed(session: Session) -> list[bytes]:
        return 20 * [
            at_once(session, command, struct.pack(">8xQ8x", 7), flags=0xA1, edtl=24, cdb=register, itt=1),
            at_once(session, command, flags=0x81, cdb=verify, itt=2),
            at_once(session, command, flags=0xC1, edtl=255, cdb=b"\x12\0\0\0\xff\0", itt=3),
            at_once(session, Opcode.TASK_REQUEST, flags=0x85, itt=4),
        ]

    return each(target, 10, mixed)


# -- requests of other kinds


def pings(target: RunningTarget) -> list[Closes]:
    return each(target, 20, lambda s: [at_once(s, Opcode.NOP_OUT, bytes(8192), ttt=NO_TAG)] * 200)


def pings_byte_by_byte(target: RunningTarget) -> list[Closes]:
    found = sessions(target, 20)
    for session in found:
        for byte in at_once(session, Opcode.NOP_OUT, bytes(64), ttt=NO_TAG)[:-1]:
            flood(session.wire.sock, bytes([byte]))
    return list(found)


def writes_byte_by_byte(target: RunningTarget) -> list[Closes]:
    found = sessions(target, 20)
    for session in found:
        for byte in (begun(session, 0, 0, 1, write10(0, 1), 0xA1, 512) + bytes(64))[:100]:
            flood(session.wire.sock, bytes([byte]))
    return list(found)


def sends_text_without_end(target: RunningTarget) -> list[Closes]:
    return each(target, 20, lambda s: [at_once(s, Opcode.TEXT_REQUEST, b"X=" + b"a" * 8000, flags=0x40, ttt=NO_TAG)])


def sends_unknown_keys(target: RunningTarget) -> list[Closes]:
    keys = b"".join(b"%c%d=\0" % (97 + n % 26, n // 26) for n in range(512))
    return each(target, 20, lambda s: [at_once(s, Opcode.TEXT_REQUEST, keys, ttt=NO_TAG)] * 60)


def asks_for_targets(target: RunningTarget) -> list[Closes]:
    found = [Session.connect(target.addresses[0], initiator=f"{BAD}{n}", discovery=True) for n in range(20)]
    for session in found:
        flood(session.wire.sock, *[at_once(session, Opcode.TEXT_REQUEST, b"SendTargets=All\0", ttt=NO_TAG)] * 2000)
    return list(found)


def sends_garbage(target: RunningTarget) -> list[Closes]:
    rng = random.Random(7)
    found: list[Closes] = []
    for size in (1, 48, 500, 70_000) * 5:
        stranger = socket.create_connection(target.addresses[0])
        flood(stranger, rng.randbytes(size))
        found.append(stranger)
    return found + each(target, 20, lambda _: [rng.randbytes(70_000)])


# -- watchers


def watches_and_reads_nothing(target: RunningTarget) -> list[Closes]:
    found: list[Closes] = []
    requests = [{"request": "attach", "mode": mode, "records": 65536} for mode in ("ring", "socket")]
    kept = sessions(target, 10)
    for number in range(40):
        reader = socket.socket(socket.AF_UNIX)
        reader.connect(str(target.runtime / "iscsitools" / f"{NAME}.watch"))
        lines = [requests[number % 2], *[{"request": "sessions"}] * 2000]
        flood(reader, *(json.dumps(line).encode() + b"\n" for line in lines))
        found.append(reader)
    for session in kept:
        flood(session.wire.sock, *(begun(session, n, 0, 8, read10(0, 8), 0xC1) for n in range(60)))
    return found + list(kept)


def comes_to_watch_and_goes(target: RunningTarget) -> list[Closes]:
    for _ in range(30):
        Sums(socket=target.runtime / "iscsitools" / f"{NAME}.watch").close()
    return []
