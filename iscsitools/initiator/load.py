"""Exact numbers of reads and writes, so that what a tracing tool counts can be compared to the last one."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from iscsitools.initiator.errors import ProtocolError
from iscsitools.initiator.session import Session
from iscsitools.initiator.tasks import Task, checked

WAYS: dict[str, tuple[bool, bool]] = {
    "immediate": (True, False),
    "unsolicited": (False, True),
    "solicited": (False, False),
    "mixed": (True, True),
}
"""How a write's data goes: as immediate data, as unsolicited Data-Outs, on R2T, or as all of these. What does not fit
the agreed first burst is always asked for by R2Ts."""


@dataclass(frozen=True)
class Plan:
    """What to do: ``reads`` of ``read_blocks`` each and ``writes`` of ``write_blocks`` each, ``depth`` at once.

    Reads and writes take turns as long as there are both; blocks follow one another from ``first_block`` on and start
    again at the end. ``way`` is one of :data:`WAYS`.
    """

    reads: int = 0
    writes: int = 0
    read_blocks: int = 8
    write_blocks: int = 8
    depth: int = 1
    way: str = "immediate"
    lun: int = 0
    first_block: int = 0


@dataclass
class Totals:
    """What was done."""

    reads: int = 0
    writes: int = 0
    read_bytes: int = 0
    write_bytes: int = 0


def _steps(plan: Plan) -> Iterator[bool]:
    """True for a write: turns, then what is left."""
    both = min(plan.reads, plan.writes)
    for _ in range(both):
        yield False
        yield True
    yield from (False for _ in range(plan.reads - both))
    yield from (True for _ in range(plan.writes - both))


def run_load(session: Session, plan: Plan) -> Totals:
    """Do the plan on a session; raises CommandError at the first status that is not GOOD."""
    blocks, size = session.read_capacity(plan.lun)
    immediate, unsolicited = WAYS[plan.way]
    data = bytes(range(256)) * (plan.write_blocks * size // 256)
    totals = Totals()
    running: list[Task] = []
    lba = plan.first_block
    for is_write in _steps(plan):
        count = plan.write_blocks if is_write else plan.read_blocks
        if lba + count > blocks:
            lba = 0
        cdb = struct.pack(">BBQIBB", 0x8A if is_write else 0x88, 0, lba, count, 0, 0)
        if is_write:
            task = session.start_command(cdb, plan.lun, write=data, immediate=immediate, unsolicited=unsolicited)
        else:
            task = session.start_command(cdb, plan.lun, read=count * size)
        running.append(task)
        lba += count
        if len(running) >= plan.depth:
            _finish(session, running.pop(0), totals)
    for task in running:
        _finish(session, task, totals)
    return totals


def _finish(session: Session, task: Task, totals: Totals) -> None:
    result = checked(session.wait(task))
    if task.write:
        totals.writes += 1
        totals.write_bytes += len(task.write)
    else:
        if len(result.data) != task.read:
            raise ProtocolError(f"{len(result.data)} bytes read of {task.read}")
        totals.reads += 1
        totals.read_bytes += len(result.data)
