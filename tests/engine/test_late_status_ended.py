"""What ends a status that waits for data of its command: task management, the end of its connection; its probes."""

from __future__ import annotations

import pytest

from iscsitools.initiator import Opcode, encode_lun, make_bhs
from iscsitools.probes.table import Probe
from iscsitools.scsi.commands import DISK
from iscsitools.scsi.core.options import UnitOptions
from iscsitools.scsi.core.unit import LogicalUnit

from .harness import IQN, Target, abort, read10, write10
from .late import nothing_is_held, refused


def manage(function: int, lun: int = 0) -> bytes:
    return make_bhs(Opcode.TASK_REQUEST, immediate=True, flags=0x80 | function, itt=99, lun=encode_lun(lun))


@pytest.mark.parametrize("lun", [0, 5], ids=["a unit", "no unit"])
def test_abort_task_finds_what_waits_and_it_is_not_answered(lun):
    wire = Target().session()
    itt = refused(wire, lun=encode_lun(lun))
    cmdsn = wire.cmd_sn
    other = make_bhs(Opcode.TASK_REQUEST, immediate=True, flags=0x81, itt=99, rtt=itt, lun=encode_lun(1 - lun // 5))
    wire.feed(other)
    assert [p.response for p in wire.receive()] in ([1], [2])  # of another unit
    right = make_bhs(Opcode.TASK_REQUEST, immediate=True, flags=0x81, itt=99, rtt=itt, lun=encode_lun(lun))
    wire.feed(right)
    assert [(p.opcode, p.response) for p in wire.receive()] == [(Opcode.TASK_RESPONSE, 0)]
    wire.feed(wire.data_out(itt, b"u" * 2048, 0))
    assert wire.receive() == []
    wire.feed(abort(itt, cmdsn - 1, cmdsn))
    assert [p.response for p in wire.receive()] == [1]
    wire.feed(wire.request(read10(0, 1), read=512, itt=itt))
    assert [(p.opcode, p.itt) for p in wire.receive()] == [(Opcode.DATA_IN, itt)]


@pytest.mark.parametrize(
    ("function", "lun", "ended"),
    [
        (2, 0, {"own 0"}),
        (2, 1, {"own 1"}),
        (4, 0, {"own 0"}),
        (5, 0, {"own 0", "other 0"}),
        (5, 1, {"own 1", "other 1"}),
        (6, 0, {"own 0", "own 1", "other 0", "other 1"}),
    ],
)
def test_functions_for_several_tasks_end_what_waits(function, lun, ended):
    """CLEAR TASK SET leaves those of others their status: they are not in the task set, and get no unit attention."""
    target = Target()
    target.device.add_unit(LogicalUnit(1, target.store, target.executor, UnitOptions(target=IQN), DISK))
    wires = {"own": target.session(), "other": target.session({"InitiatorName": "iqn.2026-11.example:other"})}
    waiting = {}
    for name, wire in wires.items():
        wire.command(bytes(6))  # the unit attention of the new unit
        wire.command(bytes(6), lun=encode_lun(1))
        for number in range(2):
            waiting[f"{name} {number}"] = refused(wire, lun=encode_lun(number))
    wires["own"].feed(manage(function, lun))
    assert [p.response for p in wires["own"].receive()] == [0]
    assert wires["other"].receive() == []
    for name, itt in waiting.items():
        wire = wires[name.split()[0]]
        wire.feed(wire.data_out(itt, b"u" * 2048, 0))
        assert [p.itt for p in wire.receive()] == ([] if name in ended else [itt])
    assert not wires["own"].conn.commands
    assert not wires["other"].conn.commands


@pytest.mark.parametrize("end", ["logout", "lost", "reinstated", "cold reset"])
def test_nothing_that_waits_is_left_when_the_connection_ends(end):
    target = Target()
    wire = target.session()
    refused(wire)
    itt = refused(wire)
    if end == "logout":
        wire.feed(make_bhs(Opcode.LOGOUT_REQUEST, immediate=True, flags=0x80, itt=5, cmd_sn=wire.cmd_sn))
    elif end == "cold reset":
        wire.feed(manage(7))
    elif end == "reinstated":
        target.session()
    else:
        wire.conn.closed()
    wire.feed(wire.data_out(itt, b"u" * 512, 0))
    assert not [p for p in wire.receive() if p.opcode == Opcode.SCSI_RESPONSE]
    if end != "lost":
        wire.conn.closed()
    assert not wire.conn.commands
    assert nothing_is_held(target)


class Watcher:
    """The names of what fired, in its order; transfers with their length."""

    def __init__(self) -> None:
        self.seen: list[tuple[Probe, int]] = []

    def on_pdu(self, probe: int, now: int, conn: object, lun: int, bhs: bytes, cdb: bytes, sense: int) -> None:
        self.seen.append((Probe(probe), lun))

    def on_xfer(self, probe: int, now: int, conn: object, lun: int, xfer: tuple[int, ...]) -> None:
        self.seen.append((Probe(probe), xfer[4]))


def watched(target: Target) -> list[tuple[Probe, int]]:
    watcher = Watcher()
    target.probes.subscribe((1 << len(Probe)) - 1, watcher)
    return watcher.seen


def test_probes_of_what_is_refused_at_once():
    """Its data is received, with the unit of its command, but nothing of it is transferred."""
    target = Target()
    wire = target.session()
    seen = watched(target)
    itt = refused(wire, lun=encode_lun(9))
    for n in range(2):
        wire.feed(wire.data_out(itt, b"u" * 512, n * 512, sn=n, final=n == 1))
    assert seen == [(Probe.SCSI_COMMAND, 9), (Probe.DATA_RECEIVE, 9), (Probe.DATA_RECEIVE, 9), (Probe.SCSI_RESPONSE, 9)]


def test_probes_of_a_transfer_that_fails():
    """It has ended when the command has; what comes afterwards is no part of it."""
    target = Target()
    wire = target.session({"MaxBurstLength": "1024"})
    wire.feed(wire.request(write10(0, 2), edtl=1024, writes=1))
    (r2t,) = wire.receive()
    seen = watched(target)
    for n, sn in enumerate((0, 5, 6)):
        wire.feed(wire.data_out(r2t.itt, b"u" * 256, n * 256, ttt=r2t.ttt, sn=sn, final=n == 2))
    received = (Probe.DATA_RECEIVE, 0)
    assert seen == [received, received, (Probe.XFER_DONE, 256), received, (Probe.SCSI_RESPONSE, 0)]
