"""Reads and writes that go from the data path in C to librbd, on a real Ceph, and what becomes of them there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ceph_cluster import Cluster
from iscsitools.backstores.base import Operation, Request
from iscsitools.initiator import Session, Task
from iscsitools.testing.serving import IQN, serve
from iscsitools.wire.scsi import ManagementFunction

from iscsitools_rbd.backstore import RbdBackstore
from iscsitools_rbd.native_image import native

pytestmark = pytest.mark.ceph
Image = Callable[..., str]
BUSY = 0x08
READ, WRITE = Operation.READ, Operation.WRITE


@pytest.fixture(autouse=True)
def in_c() -> None:
    pytest.importorskip("iscsitools.datapath._native", reason="the data path in C was not built")
    if native() is None:
        pytest.skip("the module in C was not built: it needs a C compiler")


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> list[RbdBackstore]:
    """Those that are served."""
    found: list[RbdBackstore] = []
    opened = RbdBackstore.open
    monkeypatch.setattr(RbdBackstore, "open", lambda self: (opened(self), found.append(self))[0])
    return found


@pytest.fixture
def by_python(monkeypatch: pytest.MonkeyPatch) -> list[Operation]:
    """What has come as requests."""
    found: list[Operation] = []
    submit = RbdBackstore.submit

    def noted(self: RbdBackstore, request: Request) -> None:
        found.append(request.operation)
        submit(self, request)

    monkeypatch.setattr(RbdBackstore, "submit", noted)
    return found


@pytest.fixture
def target(cluster: Cluster, image: Image) -> Iterator[Any]:
    with serve(f"rbd:{image()},conf={cluster.conf},wait=1s,block_size=4096") as target:
        yield target


@pytest.fixture
def session(target: Any) -> Iterator[Session]:
    with target.connect() as session:
        session.command(bytes(6))
        assert session.command(cdb(READ, 0), read=4096).good  # its gate is open
        yield session


def cdb(operation: Operation, lba: int, blocks: int = 1) -> bytes:
    code = 0x28 if operation is READ else 0x2A
    return bytes([code, 0]) + lba.to_bytes(4, "big") + bytes([0]) + blocks.to_bytes(2, "big") + bytes(1)


def write(session: Session, lba: int, data: bytes) -> Task:
    return session.start_command(cdb(WRITE, lba, len(data) // 4096), write=data)


def paused(cluster: Cluster, session: Session) -> None:
    """Pause all I/O, and wait until the target's client has learnt it."""
    cluster.command("osd pause")
    cluster.wait_for(lambda: session.command(cdb(READ, 100), read=4096).status == BUSY, "BUSY")


def goes_on(cluster: Cluster, session: Session) -> None:
    cluster.command("osd unpause")
    cluster.wait_for(lambda: session.command(cdb(WRITE, 200), write=bytes(4096)).good, "a write")


def test_plain_reads_and_writes_are_no_requests(session: Session, by_python: list[Operation]) -> None:
    content = os.urandom(64 * 4096)
    tasks = [write(session, n, content[4096 * n :][:4096]) for n in range(64)]
    assert all(session.wait(task).good for task in tasks)
    tasks = [session.start_command(cdb(READ, n), read=4096) for n in range(64)]
    assert b"".join(session.wait(task).data for task in tasks) == content
    assert session.command(cdb(READ, 0, 16), read=65536).data == content[:65536]
    assert by_python == []


def test_one_that_is_late_gets_busy_and_keeps_its_blocks(
    cluster: Cluster, session: Session, stores: list[RbdBackstore], by_python: list[Operation]
) -> None:
    assert session.wait(write(session, 4, b"1" * 4096)).good
    paused(cluster, session)
    by_python.clear()
    try:
        late = write(session, 4, b"2" * 4096)
        assert session.wait(late).status == BUSY
        assert by_python == []
        assert session.wait(write(session, 4, b"3" * 4096)).status == BUSY  # the first one may still land
        assert session.command(cdb(READ, 4), read=4096).status == BUSY
        assert by_python == [WRITE, READ]  # the capsule has refused them, and so has Python
    finally:
        goes_on(cluster, session)
    cluster.wait_for(lambda: session.wait(write(session, 4, b"4" * 4096)).good, "a write of those blocks")
    assert session.command(cdb(READ, 4), read=4096).data == b"4" * 4096


def test_a_reset_and_the_end_of_a_session_leave_nothing_that_lands_later(
    cluster: Cluster, target: Any, session: Session
) -> None:
    paused(cluster, session)
    try:
        gone = write(session, 4, b"1" * 4096)
        assert session.manage(ManagementFunction.LOGICAL_UNIT_RESET).bhs[2] == 0
        session.command(bytes(6))
        left = write(session, 5, b"1" * 4096)
        session.close()
        with Session.connect(target.address, IQN) as other:
            other.command(bytes(6))
            behind = [write(other, lba, b"2" * 4096) for lba in (4, 5)]
            goes_on(cluster, other)
            for lba, task in zip((4, 5), behind, strict=True):
                if other.wait(task).status == BUSY:  # in the end the first one was late
                    cluster.wait_for(lambda lba=lba: other.wait(write(other, lba, b"2" * 4096)).good, "a write")
                assert other.command(cdb(READ, lba), read=4096).data == b"2" * 4096
    finally:
        cluster.command("osd unpause")
    assert gone.result is None
    assert left.result is None


def test_who_is_shut_out_is_not_ready(cluster: Cluster, image: Image, stores: list[RbdBackstore]) -> None:
    with serve(f"rbd:{image()},conf={cluster.conf},block_size=4096") as target, target.connect() as session:
        session.command(bytes(6))
        assert session.wait(write(session, 4, b"1" * 4096)).good
        cluster.command("osd blocklist", blocklistop="add", addr=stores[-1]._path.image.address)
        cluster.wait_for(lambda: not session.wait(write(session, 4, b"2" * 4096)).good, "an error")
        for task in (write(session, 4, b"3" * 4096), session.start_command(cdb(READ, 4), read=4096)):
            assert session.wait(task).sense_code[0] == 2  # NOT READY
        assert stores[-1].trouble == "Ceph has shut this client out"
