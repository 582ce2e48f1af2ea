"""A session of mixed work: every kind of PDU that an initiator of error recovery level 0 sends or gets."""

from __future__ import annotations

import struct

import pytest

from iscsitools.initiator import DEFAULT_OFFERS, NO_TAG, LoginError, Opcode, Pdu, Session, encode_lun, make_bhs

TARGET = "iqn.2026-11.example:truth"
SMALL, LARGE, FAR = 0, 5, 300
"""Unit numbers: of 512 byte blocks, of 4096 byte blocks, and one that needs flat space addressing."""
LUNS = {SMALL: "ram:4M", LARGE: "ram:4M,block_size=4096", FAR: "ram:1M"}
PATTERN = bytes(range(251)) * 1100

Address = tuple[str, int]


def connect(address: Address, number: int, **keys: str) -> Session:
    """A session of an initiator port of its own."""
    isid = 0x400001370000 + number
    return Session.connect(address, TARGET, isid=isid, initiator=f"iqn.2026-11.example:i{number}", keys=keys)


def read10(lba: int, blocks: int) -> bytes:
    return struct.pack(">BBIBHB", 0x28, 0, lba, 0, blocks, 0)


def write10(lba: int, blocks: int) -> bytes:
    return struct.pack(">BBIBHB", 0x2A, 0, lba, 0, blocks, 0)


def reads(session: Session) -> None:
    """Reads of one and several PDUs, short ones, and one that fails."""
    for lun, block in ((SMALL, 512), (LARGE, 4096), (FAR, 512)):
        session.read(3, 1, lun, block)
        session.read(0, 65536 // block, lun, block)
    session.command(read10(0, 8), SMALL, read=512)  # overflow
    session.command(read10(0, 1), SMALL, read=4096)  # underflow
    assert session.command(read10(0xFFFFFFF0, 8), SMALL, read=4096).status == 2
    assert session.command(bytes(6), 77).status == 2


def writes(session: Session) -> None:
    """Writes by each of the ways that were agreed on, in one and several PDUs."""
    agreed = session.agreed
    ways = {(i and agreed.immediate_data, u and not agreed.initial_r2t) for i in (True, False) for u in (True, False)}
    for lun, block in ((SMALL, 512), (LARGE, 4096)):
        for size in (4096, 65536, 81920):
            data = PATTERN[:size]
            for immediate, unsolicited in sorted(ways):
                session.write(0, data, lun, block, immediate=immediate, unsolicited=unsolicited)
            assert session.read(0, size // block, lun, block) == data


def nops_and_text(session: Session) -> None:
    session.nop(b"are you there")
    session.nop(immediate=True)
    session.request(Opcode.NOP_OUT, True, itt=NO_TAG, ttt=NO_TAG, lun=encode_lun(LARGE))  # no answer
    session.text({"X-example.truth": "yes", "X-example.other": "no"})
    session.send_targets("")


def long_text(session: Session) -> list[Pdu]:
    """A Text Request in two PDUs, with its C bit, and an answer in several, each asked for by the target's tag.

    Returns the responses.
    """
    text = b"".join(b"X-example.%d=%s\0" % (n, b"v" * 60) for n in range(40))[:4000]
    text = text[: text.rindex(b"\0") + 1]
    itt = session.request(Opcode.TEXT_REQUEST, True, text[:1234], flags=0x40, ttt=NO_TAG)
    rest, answers = text[1234:], [session.until(lambda pdu: pdu.opcode == Opcode.TEXT_RESPONSE and pdu.itt == itt)]
    while not answers[-1].final:
        session.request(Opcode.TEXT_REQUEST, True, rest, itt=itt, ttt=answers[-1].ttt)
        rest = b""
        answers.append(session.until(lambda pdu: pdu.opcode == Opcode.TEXT_RESPONSE and pdu.itt == itt))
    return answers


def long_login(address: Address, number: int) -> Session:
    """A session whose first Login Request came in two PDUs."""
    session = Session(address, isid=0x400001370000 + number)
    names = {"InitiatorName": f"iqn.2026-11.example:i{number}", "SessionType": "Normal"}
    session.phase.exchange(0, 1, names, transit=False, flags=0x40)
    session.login({"TargetName": TARGET}, DEFAULT_OFFERS)
    return session


def refused_login(address: Address, number: int) -> None:
    """A login to a target that there is not."""
    names = {"InitiatorName": f"iqn.2026-11.example:i{number}", "TargetName": f"{TARGET}.missing"}
    with Session(address, isid=0x400001370000 + number) as session, pytest.raises(LoginError):
        session.login(names, {})


def management(session: Session) -> None:
    """Functions with and without an effect; a write that is aborted while its R2T is open."""
    session.manage(1, SMALL, rtt=0x1234)
    task = session.start_command(
        write10(0, 16), LARGE, write=bytes(65536), immediate=False, unsolicited=False, hold_r2ts=True
    )
    while not task.pdus:
        session.pump()
    assert session.manage(1, LARGE, rtt=task.itt).response == 0
    del session.tasks[task.itt]
    session.manage(2, FAR)
    session.manage(5, LARGE, immediate=False)
    session.manage(8, SMALL, rtt=7)
    for _ in range(2):  # the reset's unit attention
        session.command(bytes(6), LARGE)


def rejects(session: Session) -> None:
    """A SNACK, which recovery level 0 does not know; a text request that continues nothing."""
    expected = session.exp_stat_sn
    session.send_pdu(
        make_bhs(
            Opcode.SNACK_REQUEST, flags=0x81, itt=NO_TAG, ttt=NO_TAG, exp_stat_sn=expected, beg_run=1, run_length=2
        )
    )
    session.until(lambda pdu: pdu.opcode == Opcode.REJECT)
    session.request(Opcode.TEXT_REQUEST, True, ttt=99)
    session.until(lambda pdu: pdu.opcode == Opcode.REJECT)


def all_work(session: Session) -> None:
    """All of the above, after the unit attentions of what other sessions did."""
    for lun in LUNS:
        session.read_capacity(lun)
    for part in (reads, writes, nops_and_text, long_text, management, rejects):
        part(session)


def await_ping(session: Session) -> None:
    """Be silent until the target asks for a sign of life, and give it."""
    session.until(lambda pdu: pdu.opcode == Opcode.NOP_IN and pdu.ttt != NO_TAG)


def await_farewell(session: Session) -> None:
    """Log out when the target asks for it."""
    session.until(lambda pdu: pdu.opcode == Opcode.ASYNC_MESSAGE)
    session.logout()
