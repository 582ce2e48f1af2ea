"""Memory of long READs that are tasks: it comes from the stock, and goes back there when nobody needs it any more."""

from __future__ import annotations

import pytest

from iscsitools.initiator import Opcode

from .harness import ManualExecutor, Target, Wire, abort, read10, write10

LONG = (1 << 20) + 4096
"""More than the data path answers."""
BLOCKS = LONG // 512


def in_stock(target: Target) -> bool:
    """Whether there is a buffer for such a READ; it is taken out and put back."""
    buffer = target.buffers.take(LONG)
    known = any(buffer)
    target.buffers.give(buffer)
    return known


@pytest.fixture
def data() -> bytes:
    return bytes(range(1, 256)) * (LONG // 255 + 1)


def filled(target: Target, data: bytes) -> None:
    target.store.write(0, memoryview(data)[:LONG])
    target.store.write(LONG, memoryview(data)[1 : LONG + 1])


def begin(wire: Wire, lba: int = 0) -> None:
    wire.feed(wire.request(read10(lba, BLOCKS), read=LONG))


def taken(wire: Wire) -> bytes:
    return b"".join(pdu.data for pdu in wire.receive() if pdu.opcode == Opcode.DATA_IN)


def test_it_is_used_again_when_the_data_has_left(data: bytes) -> None:
    target = Target()
    wire, other = target.session(), target.session(isid=1)
    filled(target, data)
    begin(wire)
    assert not in_stock(target)
    begin(other, BLOCKS)  # while the first one's data waits
    assert taken(wire) == data[:LONG]
    assert in_stock(target)
    begin(wire, BLOCKS)
    assert taken(other) == taken(wire) == data[1 : LONG + 1]


def test_what_is_not_taken_goes_back_with_the_connection(data: bytes) -> None:
    target = Target()
    wire = target.session()
    filled(target, data)
    begin(wire)
    wire.conn.closed()
    assert in_stock(target)
    assert target.buffers.reserved == 0


def test_an_aborted_read_keeps_it_until_its_thread_has_returned(data: bytes) -> None:
    executor = ManualExecutor()
    target = Target(executor=executor, slow=True)
    wire = target.session()
    filled(target, data)
    begin(wire)
    wire.feed(abort(wire.itt, wire.cmd_sn - 1, wire.cmd_sn))
    assert not in_stock(target)
    for done in executor.waiting:
        done()
    assert in_stock(target)
    assert taken(wire) == b""


def test_a_failed_read_gives_it_back(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target()
    wire = target.session()
    filled(target, data)

    def fails(offset: int, buffer: memoryview) -> bool:
        buffer[:9] = b"something"
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(target.store, "try_read_into", fails)
    begin(wire)
    assert [(pdu.opcode, pdu.status) for pdu in wire.receive()] == [(Opcode.SCSI_RESPONSE, 2)]
    assert in_stock(target)


def test_short_ones_do_not_come_from_there(data: bytes) -> None:
    target = Target()
    wire = target.session()
    wire.command(write10(0, 8), write=data[:4096])
    for _ in range(2):
        assert b"".join(pdu.data for pdu in wire.command(read10(0, 8), read=4096)) == data[:4096]
    assert not target.buffers._spare
