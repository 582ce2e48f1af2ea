"""Pings, reinstatement, and turns: what sessions are to each other on one loop."""

from __future__ import annotations

import socket
import struct
import threading
from pathlib import Path

import pytest
from support.target import start_target

from iscsitools.initiator import NO_TAG, ConnectionClosedError, Opcode, Session, encode_lun, make_bhs
from iscsitools.lifecycle import SessionNotice

from .harness import IQN, TEST_UNIT_READY, eventually, one_target, plugin, read10, running

WRITE_8 = b"\x2a" + bytes(7) + b"\x08\0"
PINGS = "nop_interval = 0.2\nnop_timeout = 0.2"
PATIENT_PINGS = "nop_interval = 0.2\nnop_timeout = 10.0"


def test_an_initiator_that_answers_pings_stays(tmp_path: Path) -> None:
    with running(tmp_path, one_target("ram:1M", limits=PATIENT_PINGS)) as target, target.connect() as session:
        for _ in range(4):
            ping = session.until(lambda pdu: pdu.opcode == Opcode.NOP_IN)
            assert (ping.itt, ping.ttt != NO_TAG) == (NO_TAG, True)
        assert session.command(TEST_UNIT_READY).good
        assert len(target.server.table) == 1


def test_an_initiator_that_answers_no_ping_is_given_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with (
        running(tmp_path, one_target("ram:1M", limits=PINGS)) as target,
        Session.connect(target.address, IQN) as session,  # and no command: it might come when it is given up already
    ):
        session.answer_pings = False
        with pytest.raises(ConnectionClosedError):
            session.until(lambda pdu: False)
        assert [pdu.opcode for pdu in session.others] == [Opcode.NOP_IN]
        eventually(lambda: not target.server.table)
    closed = next(r for r in caplog.records if r.getMessage() == "connection closed")
    assert closed.__dict__["reason"] == "no answer to NOP-In"


def test_data_that_does_not_come_ends_its_command_only(tmp_path: Path) -> None:
    """An initiator that never answers an R2T keeps nobody else, and keeps its session."""
    limits = "data_out_timeout = 0.3"
    with running(tmp_path, one_target("ram:1M", limits=limits)) as target, target.connect() as stuck:
        task = stuck.start_command(WRITE_8, write=bytes(4096), immediate=False, unsolicited=False, hold_r2ts=True)
        while not task.pdus:
            stuck.pump()
        with Session.connect(target.address, IQN, isid=0x400001370002) as other:
            other.command(TEST_UNIT_READY)
            assert other.command(WRITE_8, write=b"o" * 4096, attribute=2).good  # ORDERED: behind the other one
        result = stuck.wait(task)
        assert (result.status, result.sense_code) == (2, (0xB, 0x4B, 0x06))
        assert stuck.command(TEST_UNIT_READY).good


def unread(target_address: tuple[str, int], iqn: str = IQN, name: str = "a") -> Session:
    """A session with much to read outstanding, that never reads any of it."""
    session = Session.connect(target_address, iqn, initiator=f"iqn.2026-11.example:{name}")
    session.command(TEST_UNIT_READY)
    for n in range(100):
        session.start_command(read10(0, 2048), read=1 << 20, itt=1000 + n)
    return session


def test_an_initiator_that_takes_no_output_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from iscsitools.server import tcp_connection

    monkeypatch.setattr(tcp_connection, "_LINGER_NS", 200_000_000)
    with running(
        tmp_path, one_target("ram:1M", "ram+delay:1M,delay.read=1us", limits="nop_interval = 1.0\nnop_timeout = 1.0")
    ) as target:
        session = unread(target.address)
        with target.connect(name="b") as other:
            eventually(
                lambda: other.nop() and len(target.server.connections.tcp) == 1, "the end of the silent connection"
            )
            assert other.read(0, 8) == bytes(4096)
            eventually(lambda: target.reserved == 0)
        session.close()


def test_reinstatement_while_the_old_connection_hangs(tmp_path: Path) -> None:
    with running(tmp_path, one_target("gate:1M", limits="nop_interval = 0")) as target:
        old = unread(target.address)
        eventually(lambda: target.reserved > 1 << 20)
        again = target.connect()
        assert again.read(0, 8) == bytes(4096)
        eventually(lambda: len(target.server.connections.tcp) == 1, "the end of the old connection")
        eventually(lambda: target.reserved == 0, "the release of its buffers")
        assert len(target.server.table) == 1
        for session in (old, again):
            session.close()


def test_a_connection_is_reinstated_in_its_session(tmp_path: Path) -> None:
    with running(tmp_path, one_target("ram:1M")) as target:
        old = target.connect()
        old.write(0, b"x" * 512)
        again = Session.connect(
            target.address, IQN, initiator="iqn.2026-11.example:a", tsih=old.agreed.tsih, cid=old.cid
        )
        assert again.agreed.tsih == old.agreed.tsih
        with pytest.raises(ConnectionClosedError):
            old.pump()
        again.cmd_sn = again.agreed.exp_cmd_sn
        assert again.read(0, 1) == b"x" * 512  # and no unit attention: it is the same nexus
        for session in (old, again):
            session.close()


class Hog(threading.Thread):
    """Reads without end: a burst of READs that fills the target's receive buffer, answers taken as they come."""

    def __init__(self, session: Session, commands: int) -> None:
        super().__init__()
        self.session = session
        self.commands = commands
        self.received = 0
        self.enough = threading.Event()

    def run(self) -> None:
        sock = self.session.wire.sock
        burst = b"".join(
            make_bhs(
                Opcode.SCSI_COMMAND, flags=0xC1, itt=5000 + n, cmd_sn=(self.session.cmd_sn + n) & 0xFFFFFFFF,
                edtl=1 << 19, lun=encode_lun(0), cdb=struct.pack(">BBIBHB", 0x28, 0, 0, 0, 1024, 0),
            )
            for n in range(self.commands)
        )  # fmt: skip
        sock.sendall(burst)
        buffer = bytearray(1 << 20)
        try:
            while count := sock.recv_into(buffer):
                self.received += count
        except OSError:
            pass


def test_ten_connections_get_their_turns(tmp_path: Path) -> None:
    """While one takes gigabytes as fast as it can, each of nine others gets its answers."""
    total = 4000
    with start_target(tmp_path, "--iqn", IQN, "--lun", "ram:1M", "--provider", "none") as target:
        others = []
        for n in range(9):
            others.append(Session.connect(target.addresses[0], IQN, initiator=f"iqn.2026-11.example:o{n}"))
            others[-1].command(TEST_UNIT_READY)
        keys = {"MaxRecvDataSegmentLength": "524288", "MaxBurstLength": "524288"}
        greedy = Session.connect(target.addresses[0], IQN, initiator="iqn.2026-11.example:greedy", keys=keys)
        greedy.command(TEST_UNIT_READY)
        hog = Hog(greedy, total)
        hog.start()
        eventually(lambda: hog.received)
        for _ in range(5):
            tasks = [session.start_command(read10(0, 8), read=4096) for session in others]
            for session, task in zip(others, tasks, strict=True):
                assert session.wait(task).data == bytes(4096)
        taken = hog.received
        greedy.wire.sock.shutdown(socket.SHUT_RDWR)
        hog.join()
        for session in (greedy, *others):
            session.close()
        # Five rounds of nine answers each, and the burst was not served first.
        assert 0 < taken < total * (1 << 19) * 3 // 4


def test_connections_at_equal_load_make_equal_progress(tmp_path: Path) -> None:
    """Ten connections with 8 reads each outstanding: when the first has 300 answers, no other has less than a tenth."""
    with running(tmp_path, one_target("ram:1M")) as target:
        sessions = [target.connect(name=f"n{n}") for n in range(10)]
        done = [0] * 10
        stop = threading.Event()
        begin = threading.Barrier(10)

        def work(index: int) -> None:
            session = sessions[index]
            begin.wait()
            tasks = [session.start_command(read10(8 * n, 8), read=4096) for n in range(8)]
            while not stop.is_set():
                session.wait(tasks.pop(0))
                done[index] += 1
                tasks.append(session.start_command(read10(0, 8), read=4096))

        threads = [threading.Thread(target=work, args=(n,)) for n in range(10)]
        for thread in threads:
            thread.start()
        eventually(lambda: max(done) >= 300)
        least = min(done)
        stop.set()
        for thread in threads:
            thread.join()
        for session in sessions:
            session.close()
        assert least >= 30


def test_plugins_are_told_of_a_sessions_end_as_of_its_begin(tmp_path: Path) -> None:
    """Its connections are gone by then, and who it was must not be."""
    opened: list[SessionNotice] = []
    closed: list[SessionNotice] = []
    hooks = plugin(
        session_opened=lambda session: opened.append(session), session_closed=lambda session: closed.append(session)
    )
    with running(tmp_path, one_target("ram:1M"), hooks) as target:
        with target.connect(isid=0x400001370001):
            eventually(lambda: opened)
        with target.connect(isid=0x400001370002) as session:
            session.logout()
        eventually(lambda: len(closed) == 2)
    assert closed == opened
    assert [(notice.isid, notice.remote.rpartition(":")[0]) for notice in closed] == [
        ("400001370001", "127.0.0.1"), ("400001370002", "127.0.0.1"),
    ]  # fmt: skip
