"""A command that fails is answered when the initiator has sent what is still expected of it (RFC 7143 7.8, 11.4.2)."""

from __future__ import annotations

import pytest

from iscsitools.initiator import Opcode, Pdu, encode_lun
from iscsitools.scsi.core.gate import DEPTH

from .harness import Target, Wire, read10, write10
from .late import BEYOND, CRC_ERROR, DATA_PHASE_ERROR, OUT_OF_RANGE, nothing_is_held, refused, sense

DIGESTS = {"DataDigest": "CRC32C"}


def corrupt(pdu: bytes) -> bytes:
    """The PDU with its last byte, one of the data digest, changed."""
    return pdu[:-1] + bytes([pdu[-1] ^ 1])


@pytest.mark.parametrize(
    ("cdb", "lun", "code"),
    [
        (BEYOND, 0, OUT_OF_RANGE),
        (write10(0, 4), 5, (5, 0x25, 0)),
        (b"\xff" + bytes(15), 0, (5, 0x20, 0)),
    ],
)
def test_what_is_refused_at_once_is_answered_after_its_unsolicited_data(cdb, lun, code):
    target = Target()
    wire = target.session()
    itt = refused(wire, cdb, write=b"i" * 512, lun=encode_lun(lun))
    wire.feed(wire.data_out(itt, b"u" * 512, 512, final=False))
    assert wire.receive() == []
    assert nothing_is_held(target)
    (other,) = wire.command(read10(0, 4), read=2048)
    assert other.data == bytes(2048)
    wire.feed(wire.data_out(itt, b"u" * 512, 1024, sn=1))
    (answer,) = wire.receive()
    assert (answer.itt, sense(answer)) == (itt, code)
    assert (answer.flags, answer.residual, answer.exp_data_sn) == (0x82, 2048, 0)
    assert answer.stat_sn == other.stat_sn + 1
    assert wire.command(bytes(6))[0].stat_sn == other.stat_sn + 2
    assert not wire.conn.commands


def test_a_read_whose_f_bit_announces_data_waits_for_it_too():
    """Its W bit is set; the memory that it would have been read into is free meanwhile."""
    target = Target()
    wire = target.session()
    itt = refused(wire, read10(0x7FFFFFF0, 4), flags=0x61)
    assert wire.receive() == []
    assert nothing_is_held(target)
    wire.feed(wire.data_out(itt, b"", 0))
    assert [sense(p) for p in wire.receive()] == [OUT_OF_RANGE]


def test_a_write_without_memory_is_busy_after_its_unsolicited_data():
    target = Target(memory=1024)
    wire = target.session()
    itt = refused(wire, write10(0, 4))
    assert wire.receive() == []
    wire.feed(wire.data_out(itt, bytes(2048), 0))
    assert [(p.itt, p.status, p.residual) for p in wire.receive()] == [(itt, 8, 2048)]


@pytest.mark.parametrize(("edtl", "first_burst"), [(2048, 65536), (4096, 2048)])
def test_all_that_could_come_counts_as_the_end_of_it(edtl, first_burst):
    """EDTL or FirstBurstLength: an initiator that forgets the F bit is answered all the same."""
    wire = Target().session({"FirstBurstLength": str(first_burst)})
    itt = refused(wire, edtl=edtl, write=b"i" * 512)
    wire.feed(wire.data_out(itt, bytes(1024), 512, final=False))
    assert wire.receive() == []
    wire.feed(wire.data_out(itt, bytes(512), 1536, sn=1, final=False))
    assert [(p.itt, sense(p)) for p in wire.receive()] == [(itt, OUT_OF_RANGE)]


@pytest.mark.parametrize(
    ("keys", "how"),
    [
        ({}, {"flags": 0xA1}),
        ({"InitialR2T": "Yes"}, {"flags": 0xA1}),
        ({"InitialR2T": "Yes"}, {"flags": 0x21}),  # not agreed on, so not expected
        ({}, {"flags": 0x01}),  # no W bit, so no data
        ({}, {"edtl": 512, "write": b"i" * 512}),
        ({"FirstBurstLength": "512"}, {"write": b"i" * 512}),
        ({"FirstBurstLength": "512"}, {"write": b"i" * 1024}),
        ({}, {"edtl": 0}),
    ],
)
def test_who_has_nothing_more_to_send_is_answered_at_once(keys, how):
    wire = Target().session(keys)
    itt = refused(wire, **how)
    assert [(p.opcode, p.itt, p.status) for p in wire.receive()] == [(Opcode.SCSI_RESPONSE, itt, 2)]


def test_immediate_data_that_was_not_agreed_on_fails_behind_the_data_that_was():
    wire = Target().session({"ImmediateData": "No"})
    itt = refused(wire, write10(0, 4), write=b"i" * 512)
    assert wire.receive() == []
    wire.feed(wire.data_out(itt, bytes(1536), 512))
    assert [sense(p)[:2] for p in wire.receive()] == [(0xB, 0x0C)]


def two_r2ts(target: Target, **keys: str) -> tuple[Wire, Pdu, Pdu]:
    """A write of 4096 bytes of which the target has asked for two sequences of 1024."""
    wire = target.session({"MaxBurstLength": "1024", "MaxOutstandingR2T": "2"} | keys)
    wire.feed(wire.request(write10(0, 8), edtl=4096, writes=1))
    first, second = wire.receive()
    return wire, first, second


@pytest.mark.parametrize("final", [True, False])
def test_a_failed_sequence_waits_for_those_that_were_asked_for(final):
    """With their F bits, or all of their bytes; nothing more is asked for, and nothing is written."""
    target = Target()
    wire, first, second = two_r2ts(target)
    itt = wire.itt
    wire.feed(wire.data_out(itt, b"1" * 512, 0, ttt=first.ttt, sn=7, final=False))
    assert wire.receive() == []
    assert nothing_is_held(target)
    wire.feed(wire.data_out(itt, b"1" * 512, 512, ttt=first.ttt, sn=8, final=final))
    wire.feed(wire.data_out(itt, b"?" * 512, 0, ttt=first.ttt, sn=9))  # it has ended
    wire.feed(wire.data_out(itt, b"?" * 512, 0))  # and this was never expected
    assert wire.receive() == []
    wire.feed(wire.data_out(itt, b"2" * 1024, 1024, ttt=second.ttt, final=final))
    (answer,) = wire.receive()
    assert (answer.itt, sense(answer), answer.exp_data_sn) == (itt, DATA_PHASE_ERROR, 2)
    assert (answer.flags, answer.residual) == (0x82, 4096)
    assert wire.command(read10(0, 8), read=4096)[-1].data == bytes(1024)


def test_an_unsolicited_sequence_that_goes_wrong_is_answered_behind_its_end():
    wire = Target().session()
    itt = refused(wire, write10(0, 4), edtl=2048)
    wire.feed(wire.data_out(itt, b"u" * 512, 1024, final=False))
    assert wire.receive() == []
    wire.feed(wire.data_out(itt, b"u" * 512, 512, sn=1))
    assert [sense(p) for p in wire.receive()] == [DATA_PHASE_ERROR]
    assert wire.command(read10(0, 4), read=2048)[0].data == bytes(2048)


@pytest.mark.parametrize("cdb", [write10(0, 4), BEYOND], ids=["wanted", "thrown away"])
@pytest.mark.parametrize("at", [0, 1])
def test_data_with_a_bad_digest_is_waited_for_no_longer_than_sound_data(cdb, at):
    """The F bit of a discarded PDU does not come again; behind one without it, the rest does."""
    target = Target()
    wire = target.session(DIGESTS)
    itt = refused(wire, cdb)
    parts = [wire.data_out(itt, b"0" * 1024, 0, final=False), wire.data_out(itt, b"1" * 1024, 1024, sn=1)]
    parts[at] = corrupt(parts[at])
    for part in parts:
        assert not [p for p in wire.receive() if p.opcode != Opcode.REJECT]
        wire.feed(part)
    *rejects, answer = wire.receive()
    assert [p.reason for p in rejects] == [2] * at
    assert (answer.itt, sense(answer)) == (itt, OUT_OF_RANGE if cdb is BEYOND else CRC_ERROR)
    assert nothing_is_held(target)
    assert wire.command(read10(0, 4), read=2048)[0].data == bytes(2048)


def test_data_with_a_bad_digest_counts_among_all_that_could_come():
    wire = Target().session(DIGESTS)
    itt = refused(wire)
    wire.feed(corrupt(wire.data_out(itt, bytes(1536), 0, final=False)))
    assert [p.opcode for p in wire.receive()] == [Opcode.REJECT]
    wire.feed(wire.data_out(itt, bytes(512), 1536, sn=1, final=False))
    assert [sense(p) for p in wire.receive()] == [OUT_OF_RANGE]


def test_a_bad_digest_waits_for_the_other_r2ts():
    wire, first, second = two_r2ts(Target(), **DIGESTS)
    wire.feed(corrupt(wire.data_out(wire.itt, b"1" * 1024, 0, ttt=first.ttt)))
    assert [p.opcode for p in wire.receive()] == [Opcode.REJECT]
    wire.feed(wire.data_out(wire.itt, b"2" * 1024, 1024, ttt=second.ttt))
    assert [sense(p) for p in wire.receive()] == [CRC_ERROR]


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_bad_digest_of_data_before_its_turn_fails_its_command_when_that_comes(at):
    target = Target()
    wire = target.session(DIGESTS)
    first = wire.request(bytes(6))
    itt = refused(wire, write10(0, 4))
    parts = [wire.data_out(itt, bytes([n]) * 512, n * 512, sn=n, final=n == 2) for n in range(3)]
    parts[at] = corrupt(parts[at])
    wire.feed(b"".join(parts))
    assert [(p.opcode, p.reason) for p in wire.receive()] == [(Opcode.REJECT, 2)]
    wire.feed(first)
    before, answer = wire.receive()
    assert (before.itt, before.status, answer.itt) == (itt - 1, 0, itt)
    assert sense(answer) == CRC_ERROR
    assert nothing_is_held(target)
    assert wire.command(read10(0, 4), read=2048)[0].data == bytes(2048)


def test_bad_data_without_end_for_a_command_before_its_turn_ends_the_connection():
    target = Target(memory=1 << 20)
    wire = target.session(DIGESTS)
    wire.request(bytes(6))
    data = corrupt(wire.data_out(refused(wire), bytes(512), 0, final=False))
    for _ in range(4096):
        wire.feed(data)
    assert "without end" in wire.conn.close_reason
    wire.conn.closed()
    assert target.buffers.reserved == 0


@pytest.mark.parametrize("slow", [False, True])
def test_the_tag_is_taken_until_the_response(slow):
    wire = Target(slow=slow).session()
    itt = refused(wire)
    wire.feed(wire.request(read10(0, 1), read=512, itt=itt))
    assert [(p.opcode, p.reason) for p in wire.receive()] == [(Opcode.REJECT, 7)]
    wire.feed(wire.data_out(itt, b"u" * 512, 0))
    assert [p.itt for p in wire.receive()] == [itt]
    wire.feed(wire.request(read10(0, 1), read=512, itt=itt))
    assert [(p.opcode, p.itt) for p in wire.receive()] == [(Opcode.DATA_IN, itt)]


def test_what_waits_has_no_place_in_the_task_set():
    target = Target()
    wire = target.session()
    target.unit.tasks.words[DEPTH] = 1
    waiting = [refused(wire) for _ in range(3)]
    wire.feed(wire.request(write10(0, 1), edtl=512, writes=1))
    (r2t,) = wire.receive()
    assert r2t.opcode == Opcode.R2T
    full = refused(wire, write10(0, 4))  # TASK SET FULL waits as well
    assert wire.receive() == []
    wire.feed(wire.data_out(r2t.itt, b"w" * 512, 0, ttt=r2t.ttt))
    wire.feed(b"".join(wire.data_out(itt, b"u" * 512, 0) for itt in (full, *waiting)))
    assert [(p.itt, p.status) for p in wire.receive()] == [(r2t.itt, 0), (full, 0x28), *((itt, 2) for itt in waiting)]


def test_no_more_than_a_window_of_them_wait():
    """Immediate commands do not move the window, and answers of others do: neither lets more and more of them wait."""
    target = Target(window=4)
    wire = target.session()
    itts = [refused(wire) for _ in range(3)]
    bhs = bytearray(wire.request(BEYOND, edtl=2048, flags=0x21))
    wire.cmd_sn -= 1
    bhs[0] |= 0x40
    wire.feed(bytes(bhs))
    itts.append(wire.itt)
    assert wire.receive() == []
    for _ in range(100):
        itt = refused(wire)
        assert [(p.itt, sense(p)) for p in wire.receive()] == [(itt, OUT_OF_RANGE)]
    assert len(wire.conn.commands) == 4
    wire.feed(wire.data_out(itts.pop(), b"u" * 512, 0))
    assert [sense(p) for p in wire.receive()] == [OUT_OF_RANGE]
    itts.append(refused(wire))
    assert wire.receive() == []
    wire.feed(b"".join(wire.data_out(itt, b"u" * 512, 0) for itt in itts))
    assert [p.itt for p in wire.receive()] == itts
    assert not wire.conn.commands
