"""Peers that mean no good, over real sockets: the others go on, and nothing of them stays."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.target import RunningTarget, start_target

from iscsitools.initiator import DEFAULT_OFFERS, Opcode, Session, encode_keys, encode_lun, make_bhs
from iscsitools.initiator.pdu_socket import pad

from .harness import IQN, TEST_UNIT_READY, descriptors, eventually, one_target, read10, running, write10

DATA = bytes(range(256)) * 16
LIMITS = (
    "login_timeout = 2.0\nbuffer_memory = 33554432\nmax_connections = 64\nnop_interval = 2.0\nnop_timeout = 5.0\n"
    "exit_timeout = 5.0"
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTarget]:
    folder = tmp_path_factory.mktemp("hostile")
    file = folder / "target.toml"
    text = one_target("ram:16M", "ram+delay:16M,delay.read=1us,delay.write=1us", limits=LIMITS)
    file.write_text('log_level = "warning"\n' + text)
    file.chmod(0o600)
    with start_target(folder, "--config", str(file), "--provider", "none") as target:
        yield target
        output = target.stop()
    assert target.process.returncode == 0
    assert "Traceback" not in output
    assert "internal error" not in output


@pytest.fixture
def target(served: RunningTarget) -> Iterator[RunningTarget]:
    """The server; afterwards it has as few descriptors as before, and a good session works."""
    before = descriptors(served.pid)
    yield served
    eventually(lambda: descriptors(served.pid) <= before, "the end of the hostile connections")
    with connect(served, "good") as session:
        for lun in (0, 1):
            session.write(8, DATA, lun)
            assert session.read(8, 8, lun) == DATA
        session.logout()


def connect(target: RunningTarget, name: str = "bad", **how: object) -> Session:
    session = Session.connect(target.addresses[0], IQN, initiator=f"iqn.2026-11.example:{name}", **how)  # type: ignore[arg-type]
    for lun in (0, 1):
        session.command(TEST_UNIT_READY, lun)
    return session


def opened(target: RunningTarget) -> socket.socket:
    return socket.create_connection(target.addresses[0], 30)


def closed_by_target(sock: socket.socket) -> bool:
    """Wait for the end of the stream; what comes before it is thrown away."""
    with contextlib.suppress(ConnectionResetError):
        while sock.recv(65536):
            pass
    sock.close()
    return True


def reset(sock: socket.socket) -> None:
    """Close with a reset instead of an orderly end."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def memory(pid: int) -> int:
    """Resident bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def login_request(**fields: int) -> bytes:
    keys = {"InitiatorName": "iqn.2026-11.example:bad", "SessionType": "Normal", "TargetName": IQN}
    text = encode_keys(keys | DEFAULT_OFFERS)
    how = {"flags": 0x87, "isid": 1, "cid": 1, "data_length": len(text)} | fields
    return make_bhs(Opcode.LOGIN_REQUEST, immediate=True, **how) + pad(text)


def test_silence(target: RunningTarget) -> None:
    socks = [opened(target) for _ in range(5)]
    assert all(closed_by_target(sock) for sock in socks)


def test_a_login_one_byte_at_a_time_is_a_login(target: RunningTarget) -> None:
    with opened(target) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in login_request():
            sock.send(bytes([byte]))
        assert sock.recv(48)[0] == Opcode.LOGIN_RESPONSE


def test_a_login_that_takes_its_time_is_cut_off(target: RunningTarget) -> None:
    sock = opened(target)
    sock.sendall(login_request()[:-4])
    assert closed_by_target(sock)


@pytest.mark.parametrize("at", [1, 47, 48, 49, 200])
@pytest.mark.parametrize("end", [socket.socket.close, reset], ids=["close", "reset"])
def test_half_a_pdu(target: RunningTarget, at: int, end) -> None:  # type: ignore[no-untyped-def]
    sock = opened(target)
    sock.sendall(login_request()[:at])
    end(sock)
    session = connect(target)
    bhs = make_bhs(Opcode.SCSI_COMMAND, flags=0xA1, edtl=4096, data_length=4096, itt=7, cdb=write10(0, 8), cmd_sn=9)
    session.wire.sock.sendall((bhs + DATA)[:at])
    end(session.wire.sock)


def test_garbage(target: RunningTarget) -> None:
    rng = random.Random(7)
    for size in (1, 48, 500, 70_000):
        sock = opened(target)
        with contextlib.suppress(OSError):
            sock.sendall(rng.randbytes(size))
            sock.shutdown(socket.SHUT_WR)
        assert closed_by_target(sock)
        session = connect(target)
        with contextlib.suppress(OSError):
            session.wire.sock.sendall(rng.randbytes(size))
            session.wire.sock.shutdown(socket.SHUT_WR)
        assert closed_by_target(session.wire.sock)


def test_a_thousand_connections_in_a_burst(target: RunningTarget) -> None:
    before = memory(target.pid)
    with connect(target, "bystander") as session:
        for _ in range(10):
            socks = []
            for _ in range(100):
                sock = socket.socket()
                sock.setblocking(False)
                sock.connect_ex(target.addresses[0])
                socks.append(sock)
            session.write(0, DATA)
            assert session.read(0, 8) == DATA
            for sock in socks:
                sock.close()
    assert memory(target.pid) - before < 64 << 20


@pytest.mark.parametrize("lun", [0, 1])
def test_a_reader_that_never_reads(target: RunningTarget, lun: int) -> None:
    """128 reads of 8 MiB are outstanding on each of four connections: 4 GiB that nobody takes."""
    before = memory(target.pid)
    sessions = [connect(target, f"bad{n}") for n in range(4)]
    for session in sessions:
        for n in range(128):
            session.start_command(read10(0, 16384), lun, read=8 << 20, cmd_sn=session.cmd_sn + n)
    with connect(target, "bystander") as other:
        for _ in range(20):
            for each in (0, 1):  # a part of the buffers is left for who holds little
                assert len(other.read(0, 8, each)) == 4096
    # The configured 32 MiB of buffers, and 5 MiB of each connection's output.
    assert memory(target.pid) - before < (32 + 4 * 5 + 30) << 20
    for session in sessions:
        reset(session.wire.sock)
    with connect(target, "again") as session:
        eventually(lambda: session.command(read10(0, 16384), 1, read=8 << 20).good, "free buffers")


def test_writes_that_get_no_data(target: RunningTarget) -> None:
    sessions = [connect(target, f"bad{n}", keys={"InitialR2T": "Yes", "ImmediateData": "No"}) for n in range(2)]
    for session in sessions:
        tasks = [
            session.start_command(write10(0, 512), 1, write=bytes(262144), hold_r2ts=True, cmd_sn=session.cmd_sn + n)
            for n in range(100)
        ]
        eventually(lambda tasks=tasks, session=session: session.pump() and any(task.pdus for task in tasks))
        reset(session.wire.sock)


def test_resets_everywhere(target: RunningTarget) -> None:
    rng = random.Random(11)
    for step in range(40):
        if step % 4 == 0:
            sock = opened(target)
            sock.sendall(login_request()[: rng.randrange(1, 400)])
            reset(sock)
            continue
        session = connect(target)
        for n in range(rng.randrange(1, 40)):
            lun = rng.randrange(2)
            number = {"cmd_sn": session.cmd_sn + n}
            if rng.random() < 0.5:
                session.start_command(read10(0, 512), lun, read=262144, **number)
            else:
                session.start_command(write10(0, 512), lun, write=bytes(262144), **number)
        reset(session.wire.sock)


def test_pings_without_reading_the_answers(target: RunningTarget) -> None:
    before = memory(target.pid)
    session = connect(target)
    ping = make_bhs(Opcode.NOP_OUT, immediate=True, itt=9, ttt=0xFFFFFFFF, data_length=65536) + bytes(65536)
    session.wire.sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        for _ in range(4000):
            session.wire.sock.send(ping)
    assert memory(target.pid) - before < 40 << 20
    reset(session.wire.sock)


def test_a_text_exchange_without_end(target: RunningTarget) -> None:
    before = memory(target.pid)
    session = connect(target)
    itt = session.request(Opcode.TEXT_REQUEST, True, b"X=" + b"a" * 4000, flags=0x40, ttt=0xFFFFFFFF)
    for _ in range(40):
        answer = session.until(lambda pdu: pdu.opcode in (Opcode.TEXT_RESPONSE, Opcode.REJECT))
        if answer.opcode == Opcode.REJECT:
            break
        session.request(Opcode.TEXT_REQUEST, True, b"a" * 4000, flags=0x40, itt=itt, ttt=answer.ttt)
    assert answer.opcode == Opcode.REJECT
    assert session.nop(b"well").data == b"well"
    session.close()
    assert memory(target.pid) - before < 20 << 20


def test_vanishing_in_the_middle_leaves_no_buffer(tmp_path: Path) -> None:
    """The same in this process, where the count of reserved bytes can be seen."""
    with running(tmp_path, one_target("ram:16M", "gate:16M")) as target:
        for lun in (0, 1):
            for keys in ({}, {"InitialR2T": "Yes", "ImmediateData": "No"}):
                session = target.connect(keys=keys)
                for _ in range(20):
                    session.start_command(read10(0, 2048), lun, read=1 << 20)
                    session.start_command(write10(0, 512), lun, write=bytes(262144), hold_r2ts=True)
                held = make_bhs(
                    Opcode.SCSI_COMMAND, flags=0xA1, edtl=4096, data_length=4096, itt=77, cdb=write10(0, 8),
                    cmd_sn=(session.cmd_sn + 3) & 0xFFFFFFFF, lun=encode_lun(lun),
                )  # fmt: skip
                session.wire.send_raw(held + DATA)
                reset(session.wire.sock)
                eventually(lambda: not target.server.connections.tcp and not target.server.table)
                eventually(lambda: target.reserved == 0, "the release of the buffers")
        with target.connect() as session:
            assert session.command(TEST_UNIT_READY).good


def test_out_of_descriptors(tmp_path: Path) -> None:
    """With every descriptor taken, those that are connected go on; when some are free again, others come in."""
    arguments = ("--iqn", IQN, "--lun", "ram:1M", "--provider", "none")
    with start_target(tmp_path, *arguments) as target, connect_one(target) as session:
        used = descriptors(target.pid)
        highest = max(int(name) for name in os.listdir(f"/proc/{target.pid}/fd"))
        resource.prlimit(target.pid, resource.RLIMIT_NOFILE, (highest + 6, highest + 6))
        socks = [socket.create_connection(target.addresses[0], 30) for _ in range(highest + 16 - used)]
        eventually(lambda: "cannot accept a connection: Too many open files" in target.output)
        session.write(0, DATA)
        assert session.read(0, 8) == DATA
        with socket.socket(socket.AF_UNIX) as reader:
            reader.settimeout(60)
            (path,) = (target.runtime / "iscsitools").glob("*.watch")
            reader.connect(str(path))
            for sock in socks:
                sock.close()
            connect_one(target, "b").close()
            assert b"iscsitools-trace" in reader.recv(4096)


def connect_one(target: RunningTarget, name: str = "a") -> Session:
    session = Session.connect(target.addresses[0], IQN, initiator=f"iqn.2026-11.example:{name}")
    session.command(TEST_UNIT_READY)
    return session
