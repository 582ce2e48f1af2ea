"""Several heads of one image, in one process: who is active, and that nothing of an old one lands later."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from ceph_cluster import Cluster
from iscsitools.backstores.base import BackstoreError, Host, Operation, Request
from iscsitools.testing.store_calls import read

from iscsitools_rbd.backstore import RbdBackstore

pytestmark = pytest.mark.ceph
Image = Callable[..., str]
Store = Callable[..., RbdBackstore]


class Ear(Host):
    """Remembers what a store tells."""

    def __init__(self, store: RbdBackstore) -> None:
        self.store = store
        self.access: list[Any] = []
        self.reservations: list[str | None] = []

    def access_changed(self) -> None:
        self.access.append(self.store.access)

    def reservations_changed(self) -> None:
        self.reservations.append(self.store.reservations)


@pytest.fixture
def head(store: Store) -> Any:
    opened: list[RbdBackstore] = []

    def make(name: str, number: int, **options: Any) -> RbdBackstore:
        made = store(name, head=number, **options)
        made.open()
        made.host = Ear(made)
        opened.append(made)
        return made

    yield make
    for each in opened:
        each.close()


def until(true: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds:g} s"
        time.sleep(0.02)


def refused(store: RbdBackstore, byte: bytes = b"x") -> int | None:
    try:
        store.write(0, memoryview(byte * 512))
    except OSError as error:
        return error.errno
    return None


def test_the_first_is_active_and_the_second_standby(image: Image, head: Any) -> None:
    name = image()
    one, two = head(name, 1), head(name, 2)
    assert one.own_identity == two.own_identity
    assert two.access == {1: "optimized", 2: "standby"}
    until(lambda: one.access == {1: "optimized", 2: "standby"})
    one.write(0, memoryview(b"1" * 512))
    assert refused(two) == errno.ENODEV
    with pytest.raises(OSError, match="another head serves"):
        read(two, 0, 512)
    two.flush()


@pytest.mark.usefixtures("each_way")
def test_the_lock_moves_when_an_initiator_asks_for_it(image: Image, head: Any) -> None:
    name = image()
    one, two = head(name, 1), head(name, 2)
    one.write(0, memoryview(b"1" * 512))
    two.request_access({2: "optimized", 1: "standby"})
    assert read(two, 0, 512) == b"1" * 512
    two.write(0, memoryview(b"2" * 512))
    assert refused(one) == errno.ENODEV
    until(lambda: one.access == {1: "standby", 2: "optimized"})
    one.request_access({1: "optimized"})
    assert read(one, 0, 512) == b"2" * 512
    until(lambda: two.access == {1: "optimized", 2: "standby"})


def test_one_that_leaves_makes_room_at_once(image: Image, store: Store, head: Any) -> None:
    name = image()
    one = store(name, head=1)
    one.open()
    two = head(name, 2, takeover=60.0)
    one.close()
    until(lambda: two.access[2] == "optimized", 10)
    two.write(0, memoryview(b"2" * 512))


@pytest.mark.usefixtures("each_way")
def test_a_write_that_is_held_back_in_the_old_head_never_lands(cluster: Cluster, image: Image, head: Any) -> None:
    name = image()
    one, two = head(name, 1, takeover=60.0), head(name, 2, takeover=60.0)
    one.write(0, memoryview(b"0" * 4096 * 16))
    ended: list[BaseException | None] = []
    with one._head._lock:  # it is as if stopped: it does not look
        old = one._path.image.address
        cluster.command("osd pause")
        try:
            pause_is_known(one)
            for number in range(16):
                request = Request(Operation.WRITE, 4096 * number, 4096, memoryview(b"1" * 4096))
                request.begin(lambda _, error: ended.append(error))
                one.submit(request)
            held_back = len(ended)
            fence(cluster, old)  # what the other head does first; its other steps need OSDs that go on
        finally:
            cluster.command("osd unpause")
        two.request_access({2: "optimized"})
        two.write(0, memoryview(b"2" * 4096 * 16))
        until(lambda: reaped(one) and len(ended) == 16)
    assert held_back == 0
    assert [getattr(error, "errno", None) for error in ended] == [errno.ENODEV] * 16
    assert read(two, 0, 4096 * 16) == b"2" * 4096 * 16


def pause_is_known(store: RbdBackstore) -> None:
    """A read of an object that is there stays with the client: the map has come that says so."""
    while True:
        request = Request(Operation.READ, 0, 512, memoryview(bytearray(512)))
        done = threading.Event()
        request.begin(lambda _, error, done=done: done.set())
        store.submit(request)
        over = time.monotonic() + 0.5
        while reaped(store) and not done.wait(0.01):
            if time.monotonic() > over:
                return


def reaped(store: RbdBackstore) -> bool:
    """As the server's loop does when the descriptor can be read."""
    if store.completion_fd >= 0:
        store.reap()
    return True


def fence(cluster: Cluster, address: str) -> None:
    cluster.command("osd blocklist", blocklistop="add", addr=address)


def test_reservations_are_those_of_all_heads(image: Image, head: Any) -> None:
    name = image()
    one, two = head(name, 1), head(name, 2)
    two.keep_reservations("text of two")
    assert one.host.reservations == ["text of two"]  # before the call returned
    one.keep_reservations("text of one")
    until(lambda: two.host.reservations == ["text of one"])
    two.request_access({2: "optimized"})
    assert two.reservations == "text of one"


def test_what_is_written_down_is_true_of_this_head_though_the_active_one_does_not_answer(
    image: Image, head: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = image()
    head(name, 1)
    two = head(name, 2)
    monkeypatch.setattr(two._head._shared, "tell", lambda *_: False)
    with pytest.raises(OSError, match="does not answer"):
        two.keep_reservations("text of two")
    assert two.host.reservations == ["text of two"]


def test_who_changes_at_the_same_time_as_another_learns_it(image: Image, head: Any) -> None:
    name = image()
    one, two = head(name, 1), head(name, 2)
    shared = one._head._shared
    stale = shared.read()
    two.keep_reservations("faster")
    shared.read = lambda read=shared.read: stale if not one.host.reservations[1:] else read()
    with pytest.raises(OSError, match="at the same time"):
        one.keep_reservations("slower")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"head": -1}, "from 1 on"),
        ({"head": 1, "takeover": 1.0}, "at least 2s"),
        ({"head": 1, "client_cache": True}, "no client_cache"),
    ],
)
def test_options_without_sense_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(BackstoreError, match=text):
        RbdBackstore("rbd/disk", **options)
