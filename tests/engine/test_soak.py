"""Two sessions at one disk with everything at random: data is right, nothing is kept, and every task has one end.

Each slot of the disk belongs to one session and has one command at a time, so that what it may hold is known: after a
write that was aborted the old or the new data, after any other end exactly one of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from iscsitools.initiator import Opcode, Pdu, encode_lun, make_bhs

from .harness import Target, Wire, read10, write10

BLOCK = 512
SLOT_BLOCKS = 96
SLOTS = 10
STEPS = 250


class RandomExecutor:
    """Runs and reports calls in random order; a call may be run long before it is reported."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.new: list[tuple[Callable[[], None], Callable[[BaseException | None], None]]] = []
        self.ran: list[Callable[[BaseException | None], None]] = []

    def submit(self, work: Callable[[], None], done: Callable[[BaseException | None], None]) -> Callable[[], bool]:
        call = (work, done)
        self.new.append(call)
        return lambda: self._withdraw(call)

    def _withdraw(self, call: tuple[Callable[[], None], Callable[[BaseException | None], None]]) -> bool:
        if call not in self.new:
            return False
        self.new.remove(call)
        return True

    def resume(self, step: Callable[[], None]) -> None:
        self.ran.append(lambda error: step())

    def step(self) -> None:
        """Run one call, or report one that has run."""
        if self.new and (not self.ran or self.rng.random() < 0.5):
            work, done = self.new.pop(self.rng.randrange(len(self.new)))
            work()
            self.ran.append(done)
        elif self.ran:
            self.ran.pop(self.rng.randrange(len(self.ran)))(None)


@dataclass
class Slot:
    first: int
    may_hold: list[bytes] = field(default_factory=lambda: [bytes(SLOT_BLOCKS * BLOCK)])
    itt: int = 0
    cmdsn: int = 0
    writing: bytes = b""
    data_end: int = 0
    """Where its data ends in what the initiator sends: bytes since the login."""
    got: dict[int, bytes] = field(default_factory=dict)


class Initiator:
    """One session: what it has outstanding, and what it expects of its slots."""

    def __init__(self, target: Target, rng: random.Random, number: int) -> None:
        self.target, self.rng, self.isid = target, rng, 0x400001370000 + number
        self.slots = [Slot((number * SLOTS + n) * SLOT_BLOCKS) for n in range(SLOTS)]
        self.checked = self.management = 0
        self.connect()

    def connect(self) -> None:
        pick = self.rng.choice
        keys = {
            "HeaderDigest": pick(("None", "CRC32C")),
            "DataDigest": pick(("None", "CRC32C")),
            "InitialR2T": pick(("Yes", "No")),
            "ImmediateData": pick(("Yes", "No")),
            "MaxRecvDataSegmentLength": pick(("4096", "16384", "262144")),
            "FirstBurstLength": pick(("4096", "32768", "65536")),
            "MaxBurstLength": pick(("65536", "262144")),
            "MaxOutstandingR2T": pick(("1", "3")),
        }
        self.wire: Wire = self.target.connect()
        self.wire.itt = self.rng.randrange(1 << 31)
        self.wire.log_in(keys, isid=self.isid)
        self.parameters = self.wire.conn.session.parameters
        self.unsent = b""
        self.sent = 0

    # -- what it asks

    def start(self, slot: Slot) -> None:
        slot.itt = self.wire.itt + 1
        slot.cmdsn = self.wire.cmd_sn
        slot.got.clear()
        if self.rng.random() < 0.5:
            slot.writing = b""
            self.unsent += self.wire.request(read10(slot.first, SLOT_BLOCKS), read=SLOT_BLOCKS * BLOCK)
            return
        data = slot.writing = self.rng.randbytes(BLOCK) * SLOT_BLOCKS
        first_burst = min(self.parameters.first_burst_length, len(data))
        immediate = self.rng.choice((0, BLOCK, first_burst)) if self.parameters.immediate_data else 0
        more = immediate < first_burst and not self.parameters.initial_r2t and self.rng.random() < 0.7
        self.unsent += self.wire.request(
            write10(slot.first, SLOT_BLOCKS), write=data[:immediate], edtl=len(data),
            flags=0x20 | (0 if more else 0x80) | self.rng.choice((0, 1, 1, 1, 2)),
        )  # fmt: skip
        if more:
            self.send_data(slot, immediate, first_burst)

    def send_data(self, slot: Slot, begin: int, end: int, **tag: int) -> None:
        sn = 0
        while begin < end:
            length = min(self.rng.choice((BLOCK, 8192, 20000)), end - begin)
            part = slot.writing[begin : begin + length]
            begin += length
            self.unsent += self.wire.data_out(slot.itt, part, begin - length, sn=sn, final=begin == end, **tag)
            sn += 1
        slot.data_end = self.sent + len(self.unsent)

    def manage(self, function: int, slot: Slot | None = None) -> None:
        tags = {"rtt": slot.itt, "ref_cmd_sn": slot.cmdsn} if slot is not None else {}
        bhs = make_bhs(
            Opcode.TASK_REQUEST, immediate=True, flags=0x80 | function, itt=0x80000000, lun=encode_lun(0),
            cmd_sn=self.wire.cmd_sn, **tags,
        )  # fmt: skip
        self.unsent += self.wire.seal(bhs)
        self.management += 1
        self.send_all()
        self.receive()
        for each in [slot] if slot is not None else self.slots:
            self.aborted(each)

    def aborted(self, slot: Slot) -> None:
        """The slot's command got no answer and will get none."""
        if slot.itt and slot.writing:
            slot.may_hold.append(slot.writing)
        slot.itt = slot.data_end = 0

    def drop(self) -> None:
        """Close the connection without a word, or log in again over it; then come back."""
        old = self.wire
        self.receive()
        if self.rng.random() < 0.5:
            old.conn.closed()
            self.connect()
        else:
            self.connect()
            old.conn.closed()
        for slot in self.slots:
            self.aborted(slot)

    # -- bytes

    def send_some(self) -> None:
        count = self.rng.choice((1, 47, 1000, 30000, 300000))
        part, self.unsent = self.unsent[:count], self.unsent[count:]
        self.sent += len(part)
        self.wire.feed(part, self.rng.choice((0, 0, 5000, 70000)))

    def send_all(self) -> None:
        while self.unsent:
            self.send_some()

    def receive(self) -> None:
        assert not self.wire.conn.close_reason
        for pdu in self.wire.receive():
            self.take(pdu)

    def take(self, pdu: Pdu) -> None:
        if pdu.opcode == Opcode.TASK_RESPONSE:
            assert pdu.response in (0, 1)
            self.management -= 1
            return
        slot = next((slot for slot in self.slots if slot.itt == pdu.itt), None)
        assert slot is not None, pdu
        if pdu.opcode == Opcode.R2T:
            self.send_data(slot, pdu.buffer_offset, pdu.buffer_offset + pdu.desired_length, ttt=pdu.ttt)
        elif pdu.opcode == Opcode.DATA_IN:
            slot.got[pdu.buffer_offset] = pdu.data
            if pdu.flags & 1:
                self.ended(slot, pdu)
        else:
            assert pdu.opcode == Opcode.SCSI_RESPONSE
            self.ended(slot, pdu)

    def ended(self, slot: Slot, pdu: Pdu) -> None:
        assert slot.data_end <= self.sent, "an answer before the data that it belongs to"
        slot.itt = slot.data_end = 0
        if pdu.status == 2:
            assert pdu.data[4] & 0xF == 6, "no sense but a unit attention"
        elif slot.writing:
            assert (pdu.status, pdu.residual) == (0, 0)
            slot.may_hold = [slot.writing]
        else:
            assert (pdu.status, pdu.residual) == (0, 0)
            data = b"".join(slot.got[offset] for offset in sorted(slot.got))
            assert data in slot.may_hold
            slot.may_hold = [data]
            self.checked += 1


def step(rng: random.Random, initiators: list[Initiator], executor: RandomExecutor) -> None:
    one = rng.choice(initiators)
    what = rng.random()
    idle = [slot for slot in one.slots if not slot.itt]
    busy = [slot for slot in one.slots if slot.itt]
    if what < 0.35 and idle:
        one.start(rng.choice(idle))
    elif what < 0.65:
        one.send_some()
    elif what < 0.8:
        executor.step()
    elif what < 0.95:
        one.receive()
    elif what < 0.98 and busy:
        one.manage(1, rng.choice(busy))
    elif what < 0.99:
        one.drop()
    elif what < 0.995:
        for each in initiators:
            each.send_all()
            each.receive()
        one.manage(5)  # the other session's tasks end too, and it is told only by a unit attention
        for each in initiators:
            each.receive()  # answers that were there before
            for slot in each.slots:
                each.aborted(slot)
    for each in initiators:
        each.target.woken.clear()


def finish(initiators: list[Initiator], executor: RandomExecutor) -> None:
    while any(each.unsent or any(s.itt for s in each.slots) for each in initiators) or executor.new or executor.ran:
        for each in initiators:
            each.send_all()
            each.receive()
        executor.step()


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_two_sessions_at_random(seed: int, slow: bool) -> None:
    rng = random.Random(seed)
    executor = RandomExecutor(rng)
    target = Target(executor=executor, slow=slow)
    initiators = [Initiator(target, rng, number) for number in range(2)]
    for _ in range(STEPS):
        step(rng, initiators, executor)
    finish(initiators, executor)
    for one in initiators:  # what every slot holds now
        for _ in range(2):  # the first command of a nexus may get its unit attention
            for slot in one.slots:
                slot.itt, slot.writing, slot.cmdsn = one.wire.itt + 1, b"", one.wire.cmd_sn
                slot.got.clear()
                one.unsent += one.wire.request(read10(slot.first, SLOT_BLOCKS), read=SLOT_BLOCKS * BLOCK)
            finish(initiators, executor)
        assert one.checked >= SLOTS
        assert one.management == 0
        assert not one.wire.conn.commands
        assert not one.wire.conn.session.held
        assert one.wire.conn.out.unsent() == 0
    for one in initiators:
        one.wire.conn.closed()
    assert target.buffers.reserved == 0
    assert len(target.table) == 0
    assert not list(target.unit.tasks)
