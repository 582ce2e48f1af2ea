"""Data-out of WRITEs: what R2Ts ask for, what is put together, and sequences that break rules (RFC 7143 11.7, 11.8)."""

from __future__ import annotations

import random

import pytest

from iscsitools.initiator import Opcode, Pdu

from .harness import Target, read10, write10


def test_r2ts_ask_for_what_was_not_sent_within_burst_and_count():
    wire = Target().session({"MaxBurstLength": "4096", "FirstBurstLength": "1024"})
    request = wire.request(write10(0, 32), edtl=16384, writes=1)
    wire.feed(request)
    data = random.Random(2).randbytes(16384)
    r2ts = wire.receive()
    asked = []
    while r2ts:
        assert all(p.opcode == Opcode.R2T for p in r2ts)
        assert len(r2ts) <= 2
        first = r2ts.pop(0)
        asked.append((first.buffer_offset, first.desired_length, first.r2t_sn))
        begin = first.buffer_offset
        for sn in range(2):
            at = begin + sn * 2048
            wire.feed(wire.data_out(first.itt, data[at : at + 2048], at, ttt=first.ttt, sn=sn, final=sn == 1))
        r2ts += wire.receive()
        if r2ts and r2ts[-1].opcode == Opcode.SCSI_RESPONSE:
            break
    assert asked == [(0, 4096, 0), (4096, 4096, 1), (8192, 4096, 2), (12288, 4096, 3)]
    assert (r2ts[-1].status, r2ts[-1].exp_data_sn) == (0, 4)
    assert b"".join(p.data for p in wire.command(read10(0, 32), read=16384)) == data


def test_immediate_then_unsolicited_then_solicited_data_is_put_together():
    target = Target(slow=True)
    wire = target.session({"FirstBurstLength": "8192", "MaxBurstLength": "16384"})
    data = random.Random(3).randbytes(20480)
    wire.feed(wire.request(write10(64, 40), write=data[:2048], edtl=20480, flags=0x21))
    itt = wire.itt
    wire.feed(wire.data_out(itt, data[2048:5000], 2048, sn=0, final=False))
    wire.feed(wire.data_out(itt, data[5000:8192], 5000, sn=1))
    (r2t,) = wire.receive()
    assert (r2t.buffer_offset, r2t.desired_length) == (8192, 12288)
    wire.feed(wire.data_out(itt, data[8192:], 8192, ttt=r2t.ttt), 1000)
    (answer,) = wire.receive()
    assert (answer.opcode, answer.status) == (0x21, 0)
    assert b"".join(p.data for p in wire.command(read10(64, 40), read=20480)) == data


def sense(answer: Pdu) -> tuple[int, int, int]:
    return answer.data[4] & 0xF, answer.data[14], answer.data[15]


@pytest.mark.parametrize(
    ("offset", "sn", "length"), [(512, 0, 1024), (0, 1, 1024), (0, 0xFFFFFFFF, 1024), (0, 0, 1536)]
)
def test_a_sequence_that_breaks_the_rules_fails_its_command_and_nothing_else(offset, sn, length):
    target = Target()
    wire = target.session()
    wire.feed(wire.request(write10(0, 2), edtl=1024, writes=1))
    (r2t,) = wire.receive()
    wire.feed(wire.data_out(r2t.itt, b"y" * length, offset, ttt=r2t.ttt, sn=sn))
    (answer,) = wire.receive()
    assert (answer.status, sense(answer)[0]) == (2, 0xB)
    wire.feed(wire.data_out(r2t.itt, b"y" * 512, 512, ttt=r2t.ttt, sn=1))  # what still comes goes nowhere
    assert wire.receive() == []
    assert wire.command(read10(0, 2), read=1024)[0].data == bytes(1024)
    assert target.buffers.reserved == 0


@pytest.mark.parametrize(
    ("keys", "request_"),
    [
        ({"ImmediateData": "No"}, {"write": bytes(512)}),
        ({"InitialR2T": "Yes"}, {"edtl": 512, "flags": 0x21}),
        ({"FirstBurstLength": "512"}, {"write": bytes(1024)}),
    ],
)
def test_data_that_was_not_agreed_on_is_refused(keys, request_):
    wire = Target().session(keys)
    (answer,) = wire.command(write10(0, 2), **request_)
    assert (answer.status, *sense(answer)[:2]) == (2, 0xB, 0x0C)
