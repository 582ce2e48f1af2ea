"""POPULATE TOKEN, WRITE USING TOKEN, RECEIVE ROD TOKEN INFORMATION, COPY OPERATION ABORT."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iscsitools.scsi.copy.manager import CopyManager
from iscsitools.scsi.copy.tokens import MOST_OF_ONE, zeros_token

from .copying import BLOCK, MIB, Copying, reserve
from .support import LIST_FIELD, LIST_LENGTH

POPULATE, WRITE, ABORT = 0x10, 0x11, 0x1C
IMMED, RTV, DEL_TKN = 1, 2, 2
UNKNOWN, REVOKED, RANGE = (5, 0x2304), (5, 0x2306), (5, 0x2100)


def command(action, data, identifier=1):
    return struct.pack(">BB4xIIxx", 0x83, action, identifier, len(data))


def ranges_of(ranges):
    return b"".join(struct.pack(">QI4x", lba, blocks) for lba, blocks in ranges)


def populate(*ranges, flags=0, timeout=0, kind=0):
    body = ranges_of(ranges)
    return struct.pack(">HBxII2xH", 14 + len(body), flags, timeout, kind, len(body)) + body


def write(token, *ranges, flags=0, offset=0):
    body = ranges_of(ranges)
    return struct.pack(">HB5xQ", 534 + len(body), flags, offset) + token + struct.pack(">6xH", len(body)) + body


def information(action=7, identifier=1, length=2048):
    return struct.pack(">BBI4xIxx", 0x84, action, identifier, length)


def make(copying, initiator, *ranges, lun=0, **how):
    data = populate(*ranges, **how)
    assert copying.run(initiator, command(POPULATE, data), data, lun)[0] == 0
    told = copying.run(initiator, information(), lun=lun)[2]
    assert struct.unpack_from(">IBB", told) == (len(told) - 4, POPULATE, 1)
    assert struct.unpack_from(">IH", told, 32) == (514, 0)
    return told[38:]


def use(copying, initiator, token, *ranges, lun=0, identifier=2, **how):
    data = write(token, *ranges, **how)
    return copying.run(initiator, command(WRITE, data, identifier), data, lun)[:2]


@pytest.fixture(params=[True, False], ids=["in threads", "here"])
def copying(request):
    return Copying(request.param)


def test_a_token_carries_blocks_to_another_unit_and_target(copying):
    a, there = copying.initiator(), copying.initiator(copying.two)
    copying.a.store.data[: 4 * BLOCK] = b"".join(bytes([n]) * BLOCK for n in b"wxyz")
    token = make(copying, a, (1, 2), (0, 1), (3, 1))
    assert len(token) == 512
    assert token[:8] == bytes.fromhex("00010000000001f8")
    assert token[16:20] == bytes.fromhex("e4000000")
    assert int.from_bytes(token[48:64], "big") == 4 * BLOCK
    assert use(copying, a, token, (100, 1), (50, 3), lun=1) == (0, None)
    assert copying.b.store.data[100 * BLOCK] == ord("x")
    assert copying.b.store.data[50 * BLOCK : 53 * BLOCK : BLOCK] == b"ywz"
    assert use(copying, there, token, (8, 2), offset=1) == (0, None)
    assert copying.c.store.data[8 * BLOCK : 10 * BLOCK : BLOCK] == b"yw"
    told = copying.run(there, information(identifier=2))[2]
    assert struct.unpack_from(">BB", told, 4) == (WRITE, 1)
    assert struct.unpack_from(">BQH", told, 15) == (0xF1, 2, 2)
    assert told[32:] == bytes(4)
    assert copying.run(there, information(5, 2))[2] == (28).to_bytes(4, "big") + told[4:32]


def test_it_stands_for_what_the_blocks_hold_when_it_is_used(copying):
    a = copying.initiator()
    token = make(copying, a, (0, 1))
    copying.run(a, "2a000000000000000100", bytes([9]) * BLOCK)
    assert use(copying, a, token, (5, 1)) == (0, None)
    assert copying.a.store.data[5 * BLOCK] == 9


def test_zeros_need_no_token_to_be_made(copying):
    a = copying.initiator()
    assert use(copying, a, zeros_token(), (3, 2), (9, 1)) == (0, None)
    assert set(copying.a.store.data[3 * BLOCK : 5 * BLOCK]) == {0}
    assert copying.a.store.data[5 * BLOCK] == 1


def test_each_is_random_and_a_guess_is_unknown(copying):
    a = copying.initiator()
    one, other = make(copying, a, (0, 1)), make(copying, a, (0, 1))
    assert one != other
    assert one[64:128] == other[64:128] == bytes(64)
    assert len(set(one[128:192])) > 16
    for at in (8, 130, 400):
        guess = bytearray(one)
        guess[at] ^= 1
        assert use(copying, a, bytes(guess), (5, 1))[1] == UNKNOWN
    assert use(copying, a, one, (5, 1))[0] == 0


def test_it_expires_when_it_is_not_used(copying):
    a = copying.initiator()
    token, longer = make(copying, a, (0, 1)), make(copying, a, (0, 1), timeout=600)
    copying.clock += 59_000
    assert use(copying, a, token, (5, 1))[0] == 0
    copying.clock += 59_000
    assert use(copying, a, token, (5, 1))[0] == 0
    copying.clock += 61_000
    assert use(copying, a, token, (5, 1))[1] == UNKNOWN
    assert use(copying, a, longer, (5, 1))[0] == 0
    data = populate((0, 1), timeout=601)
    assert copying.run(a, command(POPULATE, data), data)[1] == LIST_FIELD


def test_it_ends_with_its_session_its_unit_or_when_it_is_deleted():
    copying = Copying()
    a, other = copying.initiator(), copying.initiator(name="b")
    token = make(copying, a, (0, 1))
    assert use(copying, other, token, (5, 1), flags=DEL_TKN)[0] == 0
    assert use(copying, other, token, (5, 1))[1] == UNKNOWN
    token = make(copying, a, (0, 1))
    copying.one.detach(a.nexus)
    assert use(copying, other, token, (5, 1))[1] == UNKNOWN
    token = make(copying, other, (0, 1), lun=1)
    copying.one.remove_unit(1)
    other.run("030000001200")
    assert use(copying, other, token, (5, 1))[1] == UNKNOWN


def test_who_made_it_has_to_be_let_read_still():
    copying = Copying()
    a, b = copying.initiator(), copying.initiator(name="b")
    token = make(copying, a, (0, 1))
    reserve(b, 3, 0)
    assert use(copying, a, token, (5, 1), lun=1)[1] == REVOKED
    data = populate((0, 1))
    assert copying.run(a, command(POPULATE, data), data)[0] == 0x18


def test_a_reservation_and_write_protection_of_the_destination():
    copying = Copying()
    a, b = copying.initiator(), copying.initiator(name="b")
    token = make(copying, a, (0, 1))
    reserve(b, 1, 1)
    assert use(copying, a, token, (5, 1), lun=1)[0] == 0x18
    copying.a.software_write_protect = True
    copying.a.refresh()
    assert use(copying, a, token, (5, 1))[1] == (7, 0x2702)


def test_an_initiator_cannot_have_them_all():
    copying = Copying(blocks=64)
    a, b = copying.initiator(), copying.initiator(name="b")
    data = populate((0, 1))
    for identifier in range(MOST_OF_ONE):
        assert copying.run(a, command(POPULATE, data, identifier), data)[0] == 0
    assert copying.run(a, command(POPULATE, data), data)[1] == (5, 0x550D)
    assert copying.run(b, command(POPULATE, data), data)[0] == 0
    copying.clock += 61_000
    assert copying.run(a, command(POPULATE, data), data)[0] == 0


def test_in_the_background_with_progress_and_an_abort():
    copying = Copying(blocking=False)
    a = copying.initiator()
    token = make(copying, a, (0, 3 * MIB))
    data = write(token, (0, 3 * MIB), flags=IMMED)
    task = a.send(command(WRITE, data, 2), data, lun=1)
    assert task in a.ended
    assert task.status == 0
    for _ in range(2):
        copying.executor.step()
    told = a.send(information(identifier=2), lun=1).data_in
    assert struct.unpack_from(">B10xQH", told, 5) == (0x12, MIB, 0)
    assert a.send(command(WRITE, data, 2), data, lun=1).sense[12:14] == b"\x00\x16"
    assert a.send(struct.pack(">BBI10x", 0x83, ABORT, 2), lun=1).status == 0
    copying.finish()
    told = copying.run(a, information(identifier=2), lun=1)[2]
    assert told[5] == 0x60
    assert copying.b.store.data[: MIB * BLOCK] == bytes([1]) * MIB * BLOCK
    assert copying.b.store.data[2 * MIB * BLOCK] == 2
    assert copying.domain.part(CopyManager).running == {}


@pytest.mark.parametrize("how", ["reset", "session", "unit"])
def test_what_is_in_the_background_ends_with(how):
    copying = Copying(blocking=False)
    a = copying.initiator()
    token = make(copying, a, (0, 3 * MIB))
    data = write(token, (0, 3 * MIB), flags=IMMED)
    assert a.send(command(WRITE, data, 2), data, lun=1).status == 0
    copying.executor.step()
    if how == "reset":
        copying.b.reset(0x2903)
    elif how == "session":
        copying.one.detach(a.nexus)
    else:
        copying.one.remove_unit(1)
    copying.finish()
    assert copying.domain.part(CopyManager).running == {}
    assert copying.b.store.data[MIB * BLOCK] == 2
    assert list(copying.b.tasks) == []


def test_errors_of_the_destination_are_the_commands_own(copying):
    a = copying.initiator()
    token = make(copying, a, (0, 1))
    copying.b.store.error = OSError(5, "broken")
    assert use(copying, a, token, (7, 1), lun=1)[1] == (3, 0x0C00)
    copying.b.store.error = None
    copying.a.store.error = OSError(5, "broken")
    assert use(copying, a, token, (7, 1), lun=1)[1] == (0xA, 0x0D01)
    told = copying.run(a, information(identifier=2), lun=1)[2]
    assert (told[5], told[12], told[14]) == (2, 2, 18)
    assert told[32 + 2] == 0xA


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (populate(), LIST_FIELD),
        (populate((0, 1))[:15], LIST_LENGTH),
        (populate((0, 1))[:-1], LIST_LENGTH),
        (b"\0\x1d" + populate((0, 1))[2:], LIST_FIELD),
        (populate((8191, 2)), RANGE),
        (populate((0, 2), (1, 1)), LIST_FIELD),
        (populate((0, 1), flags=RTV, kind=0x00800000), LIST_FIELD),
        (populate(*[(n, 1) for n in range(65)]), (5, 0x2608)),
        (populate((0, 1))[:14] + b"\0\x0f" + populate((0, 1))[16:], LIST_FIELD),
    ],
)
def test_no_token_for(data, code):
    copying = Copying()
    a = copying.initiator()
    assert copying.run(a, command(POPULATE, data), data)[1] == code
    assert copying.run(a, information())[1] == (5, 0x2400)


def test_not_more_than_it_stands_for(copying):
    a = copying.initiator()
    token = make(copying, a, (0, 4))
    assert use(copying, a, token, (10, 5))[1] == LIST_FIELD
    assert use(copying, a, token, (10, 2), offset=3)[1] == LIST_FIELD
    assert use(copying, a, token, (8191, 2))[1] == RANGE
    assert use(copying, a, token, (10, 4))[0] == 0
    assert copying.run(a, command(POPULATE, b""))[0] == 0
    assert copying.run(a, command(WRITE, b""))[0] == 0
    kept = make(copying, a, (0, 4), flags=RTV, kind=0x00010000)
    assert use(copying, a, kept, (10, 4))[0] == 0


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([POPULATE, WRITE]), st.data())
def test_any_list_ends_with_a_status(action, data):
    copying = Copying(blocks=64)
    a = copying.initiator()
    token = make(copying, a, (0, 9), (20, 3))
    lba, count = st.sampled_from([0, 1, 7, 60, 63, 2**63]), st.sampled_from([0, 1, 5, 12, 2**31])
    ranges = data.draw(st.lists(st.tuples(lba, count), max_size=4))
    flags, number = data.draw(st.integers(0, 255)), data.draw(st.sampled_from([0, 1, 8, 600, 2**32 - 1]))
    if action == POPULATE:
        sent = bytearray(populate(*ranges, flags=flags, timeout=number))
    else:
        sent = bytearray(write(token, *ranges, flags=flags, offset=number))
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=2)):
        sent[at % len(sent)] = value
    sent = sent[: data.draw(st.sampled_from([len(sent), len(sent), len(sent) - 1, 16, 17]))]
    status, code, _ = copying.run(a, command(action, sent, 3), bytes(sent))
    assert status in (0, 2)
    assert code is None or code[0] in (5, 0xA)
    assert list(copying.a.tasks) == []
    assert copying.domain.part(CopyManager).running == {}
