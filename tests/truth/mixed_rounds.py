"""The commands of many.py: a round of three sessions that agreed on different ways, and plain ones beside them."""

from __future__ import annotations

import random
import threading
from collections import deque

from iscsitools.initiator import Opcode, Session
from iscsitools.initiator.tasks import Task
from truth import work

DEPTH = 16
PLAIN_DEPTH = 4
AT_ONCE = 32 << 10
"""Bytes under way. What is sent at once is cut into segments of 64 KiB: where that is within the first bytes of a
header, tshark does not know the next segment for iSCSI, though all of it is in the capture."""
_KEYS: tuple[dict[str, str], ...] = (
    {},
    {"MaxRecvDataSegmentLength": "512", "InitialR2T": "Yes", "ImmediateData": "No"},
    {"MaxRecvDataSegmentLength": "4096", "FirstBurstLength": "16384"},
)
_SHARES = (0.7, 0.1, 0.2)
"""Of the commands: with 512 bytes in a PDU, few commands are many PDUs."""
_SIZES = (512,) * 20 + (4096,) * 24 + (8192,) * 4 + (20480, 32768)


def _cdb(rng: random.Random, write: bool, lba: int, blocks: int) -> bytes:
    """READ or WRITE of 6, 10, 12 or 16 bytes."""
    form = rng.choice((6, 10, 10, 10, 12, 16))
    if form == 6 and blocks < 256:
        return bytes([0x0A if write else 0x08]) + lba.to_bytes(3, "big") + bytes([blocks, 0])
    if form == 12:
        return bytes([0xAA if write else 0xA8, 0]) + lba.to_bytes(4, "big") + blocks.to_bytes(4, "big") + bytes(2)
    if form == 16:
        return bytes([0x8A if write else 0x88, 0]) + lba.to_bytes(8, "big") + blocks.to_bytes(4, "big") + bytes(2)
    return work.write10(lba, blocks) if write else work.read10(lba, blocks)


def commands(session: Session, rng: random.Random, count: int) -> None:
    """READs and WRITEs of all forms and ways, some of them wrong, others that move no data."""
    running: deque[tuple[Task, int]] = deque()
    for _ in range(count):
        lun, block = rng.choice(((work.SMALL, 512), (work.SMALL, 512), (work.LARGE, 4096), (work.FAR, 512)))
        chance, size = rng.random(), max(block, rng.choice(_SIZES))
        lba, blocks = rng.randrange(64), size // block
        if chance < 0.05:
            task = session.start_command(bytes(6), rng.choice((lun, 77)))
        elif chance < 0.07:
            task = session.start_command(work.read10(0xFFFFFFF0, 8), lun, read=4096)
        elif chance < 0.55:
            task = session.start_command(_cdb(rng, False, lba, blocks), lun, read=size)
        else:
            way = {
                "immediate": session.agreed.immediate_data and rng.random() < 0.7,
                "unsolicited": not session.agreed.initial_r2t and rng.random() < 0.5,
            }
            task = session.start_command(_cdb(rng, True, lba, blocks), lun, write=work.PATTERN[:size], **way)
        running.append((task, size))
        while len(running) >= DEPTH or sum(length for _, length in running) > AT_ONCE:
            session.wait(running.popleft()[0])
    while running:
        session.wait(running.popleft()[0])


def plain(session: Session, rng: random.Random, count: int) -> None:
    """READs and WRITEs that are answered by one PDU: what data threads serve."""
    running: deque[Task] = deque()
    for _ in range(count):
        lun, block = rng.choice(((work.SMALL, 512), (work.LARGE, 4096), (work.FAR, 512)))
        size = max(block, rng.choice((512, 4096, 8192)))
        write, lba, blocks = rng.random() < 0.5, rng.randrange(64), size // block
        data = work.PATTERN[:size] if write else b""
        read = 0 if write else size
        running.append(session.start_command(_cdb(rng, write, lba, blocks), lun, read=read, write=data))
        while len(running) >= PLAIN_DEPTH:
            session.wait(running.popleft())
    while running:
        session.wait(running.popleft())


class _Beside:
    """Sessions of plain commands, each in a thread of the generator; :meth:`end` returns how many they have sent."""

    def __init__(self, address: work.Address, rng: random.Random, first: int, count: int, sessions: int) -> None:
        self._sent = [0] * sessions
        self._errors: list[BaseException] = []
        each = count // sessions if sessions else 0
        self._threads = [
            threading.Thread(target=self._work, args=(index, address, random.Random(rng.random()), first + index, each))
            for index in range(sessions)
        ]
        for thread in self._threads:
            thread.start()

    def _work(self, index: int, address: work.Address, rng: random.Random, number: int, count: int) -> None:
        try:
            with work.connect(address, number) as session:
                for lun in work.LUNS:
                    session.read_capacity(lun)
                plain(session, rng, count)
                self._sent[index] = session.log.count(Opcode.SCSI_COMMAND)
                session.logout()
        except BaseException as error:
            self._errors.append(error)

    def end(self) -> int:
        for thread in self._threads:
            thread.join()
        assert not self._errors, self._errors
        return sum(self._sent)


def one_round(address: work.Address, rng: random.Random, number: int, count: int, threads: int) -> int:
    """Three sessions one after the other, and plain ones beside them; returns how many commands they sent."""
    beside = _Beside(address, rng, number % 1000 * 10 + len(_KEYS), count // 3 if threads else 0, threads)
    count -= count // 3 if threads else 0
    sent = 0
    for index, (keys, share) in enumerate(zip(_KEYS, _SHARES, strict=True)):
        with work.connect(address, number % 1000 * 10 + index, **keys) as session:
            for lun in work.LUNS:  # and the unit attentions of what others did
                session.read_capacity(lun)
            for part in (work.nops_and_text, work.long_text, work.management):
                part(session)
            commands(session, rng, int(count * share))
            sent += session.log.count(Opcode.SCSI_COMMAND)
            session.nop()
            session.logout()
    return sent + beside.end()
