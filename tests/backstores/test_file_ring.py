"""``file`` by io_uring: what a ring brings back is believed as little as what a thread's call returns."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import no_uring
from support.native import needs_ring
from support.target import start_target

from iscsitools.backstores.asynchronous import flush_request, read_request, write_request
from iscsitools.backstores.base import BackstoreError, MediumError, Operation, Request
from iscsitools.backstores.file import FileBackstore
from iscsitools.backstores.ring import Ended, Ring
from iscsitools.initiator import Session
from iscsitools.server.loop import Loop
from iscsitools.server.workers import Workers
from iscsitools.testing.fixtures import served as served
from iscsitools.testing.store_calls import ask

SIZE = 1 << 20
IQN = "iqn.2026-11.example:ring"


@pytest.fixture(autouse=True)
def ring() -> None:
    needs_ring()


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(os.urandom(SIZE))
    return path


def open_store(disk: Path, direct: bool = False) -> FileBackstore:
    store = FileBackstore(str(disk), direct=direct)
    store.block_size = 4096
    try:
        store.open()
    except (BackstoreError, OSError) as error:
        pytest.skip(str(error))
    return store


@pytest.fixture
def store(disk: Path) -> Iterator[FileBackstore]:
    store = open_store(disk)
    assert store.asynchronous
    yield store
    store.close()


@pytest.mark.parametrize("direct", [False, True])
def test_all_operations_do_what_the_blocking_ones_do(disk: Path, direct: bool) -> None:
    store = open_store(disk, direct)
    content = bytearray(disk.read_bytes())
    assert store.asynchronous == frozenset(Operation) - {Operation.COMPARE_AND_WRITE}
    for offset, length, durable in ((0, 4096, False), (8192, 65536, True), (131072, 262144, False)):
        data = os.urandom(length + 1)[1:]
        ask(store, write_request(offset, memoryview(data), durable))
        content[offset : offset + length] = data
    ask(store, flush_request())
    for operation, offset in ((Operation.DISCARD, 16384), (Operation.WRITE_ZEROES, 524288)):
        ask(store, Request(operation, offset, 8192))
        content[offset : offset + 8192] = bytes(8192)
    found = memoryview(bytearray(SIZE + 1))[1:]
    for offset in range(0, SIZE, 131072):
        ask(store, read_request(offset, found[offset : offset + 131072]))
    assert found == content
    store.close()
    assert disk.read_bytes() == content


def test_a_read_beyond_the_end_of_a_cut_file_is_a_medium_error(store: FileBackstore, disk: Path) -> None:
    os.truncate(disk, 8192)
    with pytest.raises(MediumError) as raised:
        ask(store, read_request(4096, memoryview(bytearray(8192))))
    assert raised.value.offset == 8192
    with pytest.raises(MediumError):
        ask(store, write_request(4096, memoryview(bytes(8192))))
    assert disk.stat().st_size == 8192


def failing(call: str, *errors: int) -> Callable[..., None]:
    """A call of a ring that ends with these errors, one after the other, and then is done as it should be."""
    left = list(errors)
    real = getattr(Ring, call)

    def fail(self: Ring, *arguments: object) -> None:
        if not left:
            real(self, *arguments)
            return
        ended: Ended = arguments[-2]  # type: ignore[assignment]
        ended(arguments[-1], -left.pop(0))

    return fail


def error_of(store: FileBackstore, request: Request) -> int | None:
    try:
        ask(store, request)
    except OSError as error:
        return error.errno
    return 0


def test_a_flush_that_failed_is_final(store: FileBackstore, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (errno.EIO, errno.EAGAIN):
        monkeypatch.setattr(Ring, "sync", failing("sync", number))
        store.durability.failed = None
        assert error_of(store, flush_request()) == number
        assert store.unflushed
        for request in (flush_request(), write_request(0, memoryview(bytes(4096)))):
            assert error_of(store, request) == errno.EIO
        ask(store, read_request(0, memoryview(bytearray(4096))))


def test_a_durable_write_that_failed_condemns_the_disk(store: FileBackstore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ring, "write", failing("write", errno.EIO))
    assert error_of(store, write_request(0, memoryview(bytes(4096)), durable=True)) == errno.EIO
    assert error_of(store, flush_request()) == errno.EIO


def test_a_plain_write_that_failed_does_not(store: FileBackstore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ring, "write", failing("write", errno.EIO))
    assert error_of(store, write_request(0, memoryview(bytes(4096)))) == errno.EIO
    ask(store, flush_request())


def test_what_the_ring_cannot_take_is_done_by_a_thread(
    store: FileBackstore, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for call in ("write", "read", "allocate"):
        monkeypatch.setattr(Ring, call, failing(call, *[errno.EOPNOTSUPP] * 9))
    ask(store, write_request(4096, memoryview(b"w" * 4096)))
    ask(store, write_request(8192, memoryview(b"d" * 4096), durable=True))
    ask(store, Request(Operation.DISCARD, 12288, 4096))
    found = memoryview(bytearray(12288))
    ask(store, read_request(4096, found))
    assert found == disk.read_bytes()[4096:16384] == b"w" * 4096 + b"d" * 4096 + bytes(4096)


def test_a_range_that_is_held_is_waited_for(store: FileBackstore, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[tuple[Ended, object]] = []
    monkeypatch.setattr(Ring, "write", lambda self, *arguments: kept.append(arguments[-2:]))
    write, order = write_request(0, memoryview(bytes(8192))), []
    write.begin(lambda *_: order.append("write"))
    store.submit(write)
    beside, over = read_request(8192, memoryview(bytearray(4096))), read_request(4096, memoryview(bytearray(4096)))
    ask(store, beside)
    done = threading.Event()
    over.begin(lambda *_: (order.append("read"), done.set()))
    store.submit(over)
    assert not store.try_read_into(4096, memoryview(bytearray(4096)))
    assert not done.wait(0.1)
    ended, request = kept[0]
    ended(request, 8192)
    assert done.wait(10)
    assert order == ["write", "read"]


def test_an_unflushed_write_is_known_as_such_when_it_ends_behind_a_flush(
    store: FileBackstore, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[tuple[Ended, object]] = []
    monkeypatch.setattr(Ring, "write", lambda self, *arguments: kept.append(arguments[-2:]))
    write = write_request(0, memoryview(bytes(4096)))
    store.submit(write)
    ask(store, flush_request())
    ended, request = kept[0]
    ended(request, 4096)
    assert store.unflushed


def test_stores_of_one_thread_share_a_ring(tmp_path: Path) -> None:
    loop = Loop()
    stores, workers = [], []
    for name in ("one", "two", "three"):
        (tmp_path / name).write_bytes(bytes(SIZE))
        stores.append(open_store(tmp_path / name))
        workers.append(Workers(loop, 1, name))
    done: list[BaseException | None] = []

    def ask_all() -> None:
        for store, worker in zip(stores, workers, strict=True):
            assert store.asynchronous
            worker.ask(store, read_request(0, memoryview(bytearray(4096))), ended)

    def ended(error: BaseException | None) -> None:
        done.append(error)
        if len(done) == wanted:
            loop.stop()

    while stores:
        wanted = len(stores)
        ask_all()
        assert len({store.completion_fd for store in stores}) == 1
        loop.run()
        loop._stopped = False
        assert done == [None] * wanted
        done.clear()
        workers.pop(0).close()
        stores.pop(0).close()
    loop.close()


@pytest.mark.parametrize("direct", ["", ",direct=yes"])
def test_a_server_needs_no_threads(served: Callable[..., Session], disk: Path, direct: str) -> None:
    open_store(disk, bool(direct)).close()
    before = set(threading.enumerate())
    session = served(f"file:{disk}{direct},block_size=4096")
    tasks = [session.start_command(bytes([0x8A, 8]) + n.to_bytes(8, "big") + bytes([0, 0, 0, 1, 0, 0]),
                                   write=bytes([n]) * 4096) for n in range(64)]  # fmt: skip
    assert all(session.wait(task).good for task in tasks)
    assert session.command(bytes([0x35]) + bytes(9)).good
    for n in range(64):
        read = session.command(bytes([0x88, 0]) + n.to_bytes(8, "big") + bytes([0, 0, 0, 1, 0, 0]), read=4096)
        assert read.data == bytes([n]) * 4096
    made = {thread.name for thread in set(threading.enumerate()) - before}
    assert not any(name.startswith("lun") or name == "file-call" for name in made), made


@pytest.mark.parametrize("options", ["", ",direct=yes"])
def test_without_a_ring_it_serves_and_says_so(tmp_path: Path, disk: Path, options: str) -> None:
    open_store(disk, bool(options)).close()
    lun = f"file:{disk}{options},block_size=4096"
    with start_target(
        tmp_path, "--iqn", IQN, "--lun", lun, "--provider", "none", prefix=no_uring.PREFIX
    ) as target, Session.connect(target.addresses[0], IQN) as session:  # fmt: skip
        session.command(bytes(6))
        for fua in (0, 8):
            cdb = bytes([0x2A, fua, 0, 0, 0, 5 + fua, 0, 0, 1, 0])
            assert session.command(cdb, write=bytes([fua + 1]) * 4096).good
            assert session.command(bytes([0x28]) + cdb[1:], read=4096).data == bytes([fua + 1]) * 4096
        assert session.command(bytes([0x35]) + bytes(9)).good
        session.close()
        assert target.stop().count("no io_uring (Operation not permitted)") == 1
