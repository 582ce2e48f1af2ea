"""What one turn of the data path in C answers: a MiB of data, however many commands wait behind that."""

from __future__ import annotations

import pytest
from engine import harness
from engine.harness import Target, read10
from engine.turning import TurningWire
from support.native import needs_data_path

from iscsitools.iscsi.connection.turns import NOT_NOW


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> TurningWire:
    monkeypatch.setattr(harness, "data_path", needs_data_path())
    monkeypatch.setattr(harness, "wire", TurningWire)
    wire = Target().session({"MaxRecvDataSegmentLength": "1048576", "MaxBurstLength": "1048576"})
    assert isinstance(wire, TurningWire)
    return wire


@pytest.mark.parametrize("length", [512, 16384, 65536, 131072, 1 << 20])
def test_a_mib_of_reads_is_answered_in_one_turn(wire: TurningWire, length: int) -> None:
    conn = wire.conn
    count = min(100, 3 * (1 << 20) // length)
    requests = [wire.request(read10(n, length // 512), read=length) for n in range(count)]
    wire.theirs.send(b"".join(requests))
    before = conn.path.commands
    assert conn.turn(wire.ours.fileno(), wire.target.now) != NOT_NOW
    served = conn.path.commands - before
    assert served >= min(count, (1 << 20) // length)
    assert served * (length + 48) <= (1 << 20) + (64 << 10)
    assert (conn.unfinished or conn.stalled) == (served < count)
    assert [len(pdu.data) for pdu in wire.receive()] == [length] * count
