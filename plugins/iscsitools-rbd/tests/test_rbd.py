"""The backstore on a real Ceph."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from ceph_cluster import Cluster
from image_sessions import read10, serving, until, write10
from iscsitools.backstores.base import Allocation, BackstoreError
from iscsitools.testing.model import check_model
from iscsitools.testing.serving import serve
from iscsitools.testing.store_calls import read

from iscsitools_rbd.backstore import RbdBackstore
from iscsitools_rbd.ceph import modules

pytestmark = pytest.mark.ceph
Image = Callable[..., str]
Store = Callable[..., RbdBackstore]
KINDS: dict[str, dict[str, Any]] = {
    "usual": {},
    "small objects": {"order": 16},
    "no object map": {"features": 1},
    "striped": {"features": 3, "order": 20, "stripe_unit": 65536, "stripe_count": 4},
    "data pool": {"data_pool": "data"},
}


@pytest.fixture(scope="module", autouse=True)
def data_pool(cluster: Cluster) -> None:
    cluster.command("osd pool create", pool="data", pg_num=8, pgp_num=8)
    cluster.command("osd pool application enable", pool="data", app="rbd")


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("kind", KINDS)
def test_the_model(image: Image, store: Store, kind: str) -> None:
    name = image(**KINDS[kind])
    check_model(lambda: store(name), 1, steps=150, persistent=True)


def test_the_model_with_librbds_cache(image: Image, store: Store) -> None:
    name = image()
    check_model(lambda: store(name, client_cache=True), 2, steps=150, persistent=True)


def test_the_model_of_a_clone(cluster: Cluster, image: Image, store: Store) -> None:
    parent = image()
    content = os.urandom(1 << 20)
    write(store(parent), 1 << 20, content)
    clone = cloned(cluster, parent, "s")
    check_model(lambda: store(clone), 3, steps=150, persistent=True)
    assert content_of(store(parent), 1 << 20, len(content)) == content


def write(store: RbdBackstore, offset: int, content: bytes) -> None:
    store.open()
    store.write(offset, memoryview(content))
    store.close()


def content_of(store: RbdBackstore, offset: int, length: int) -> bytes:
    store.open()
    try:
        return read(store, offset, length)
    finally:
        store.close()


def cloned(cluster: Cluster, parent: str, snapshot: str) -> str:
    _, rbd = modules()
    pool = cluster.client.open_ioctx("rbd")
    name = parent.partition("/")[2]
    with rbd.Image(pool, name) as image:
        image.create_snap(snapshot)
        image.protect_snap(snapshot)
    rbd.RBD().clone(pool, name, snapshot, pool, f"{name}-clone", features=61)
    pool.close()
    return f"rbd/{name}-clone"


def test_a_cache_that_is_off_is_none_and_one_that_is_on_is_volatile(image: Image, store: Store) -> None:
    for cache in (False, True):
        opened = store(image(), client_cache=cache)
        opened.open()
        assert opened.capabilities.volatile_cache is cache
        opened.close()


def test_a_cache_that_the_image_itself_sets_is_told(cluster: Cluster, image: Image, store: Store) -> None:
    _, rbd = modules()
    name = image()
    pool = cluster.client.open_ioctx("rbd")
    with rbd.Image(pool, name.partition("/")[2]) as opened:
        opened.config_set("rbd_cache", "true")
    pool.close()
    backstore = store(name)
    backstore.open()
    assert backstore.capabilities.volatile_cache
    backstore.close()


@pytest.mark.parametrize("kind", ["usual", "no object map", "data pool"])
def test_holes_are_told_and_unmap_of_few_blocks_makes_zeros(image: Image, store: Store, kind: str) -> None:
    disk = store(image(**KINDS[kind]))
    disk.open()
    disk.write(4 << 20, memoryview(b"x" * (4 << 20)))
    states = [(extent.offset, extent.length, extent.state) for extent in disk.extents(0, disk.size)]
    assert states == [
        (0, 4 << 20, Allocation.HOLE), (4 << 20, 4 << 20, Allocation.MAPPED), (8 << 20, 8 << 20, Allocation.HOLE),
    ]  # fmt: skip
    disk.discard((4 << 20) + 512, 1024)
    assert read(disk, 4 << 20, 2048) == b"x" * 512 + bytes(1024) + b"x" * 512
    disk.discard(4 << 20, 4 << 20)
    assert [extent.state for extent in disk.extents(0, disk.size)] == [Allocation.HOLE] * 1
    disk.close()


def test_get_lba_status_tells_what_ceph_has(cluster: Cluster, image: Image) -> None:
    with serving(cluster, image()) as session:
        session.write(8192, b"x" * 4096)  # the second object, of 4 MiB
        command = b"\x9e\x12" + bytes(8) + (56).to_bytes(4, "big") + bytes(2)
        data = session.command(command, read=56).data
        told = [
            (
                int.from_bytes(data[at : at + 8], "big"),
                int.from_bytes(data[at + 8 : at + 12], "big"),
                data[at + 12] & 15,
            )
            for at in range(8, len(data), 16)
        ]
        assert told == [(0, 8192, 1), (8192, 8192, 0), (16384, 16384, 1)]


def test_an_identity_is_the_images_own(cluster: Cluster, image: Image, store: Store) -> None:
    _, rbd = modules()
    one, other = image(), image()
    first = identity(store(one))
    assert re.fullmatch(rf"rbd:{cluster.client.get_fsid()}/\d+//[0-9a-f]+", first)
    assert identity(store(other)) != first
    pool = cluster.client.open_ioctx("rbd")
    with rbd.Image(pool, one.partition("/")[2]) as opened:
        opened.create_snap("s")
    assert identity(store(f"{one}@s")).startswith(f"{first}@")
    renamed = f"{one}-renamed"
    rbd.RBD().rename(pool, one.partition("/")[2], renamed.partition("/")[2])
    pool.close()
    assert identity(store(renamed)) == first


def identity(store: RbdBackstore) -> str:
    store.open()
    store.close()
    return store.own_identity


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("rbd/nothing", {}, r"rbd: rbd/nothing: .*not found"),
        ("nowhere/disk", {}, r"rbd: nowhere/disk: .*not found"),
        ("rbd/disk", {"conf": "/nonexistent/ceph.conf"}, r"rbd: client\.admin: .*"),
    ],
)
def test_what_cannot_be_opened_is_one_line(store: Store, name: str, options: dict[str, str], text: str) -> None:
    disk = RbdBackstore(name, **options) if options else store(name)
    with pytest.raises(BackstoreError, match=text) as caught:
        disk.open()
    assert "\n" not in str(caught.value)


def test_a_monitor_that_is_not_there_is_waited_for_and_no_longer(tmp_path: Any) -> None:
    conf = tmp_path / "ceph.conf"
    conf.write_text("[global]\nmon host = v1:127.0.0.1:1\nauth client required = none\n")
    with pytest.raises(BackstoreError, match="no monitor of Ceph has answered within 1 s"):
        RbdBackstore("rbd/disk", conf=str(conf), connect_wait=1.0).open()


@pytest.mark.usefixtures("each_way")
def test_commands_need_no_threads(cluster: Cluster, image: Image) -> None:
    content = os.urandom(64 * 4096)
    with serving(cluster, image()) as session:
        tasks = [session.start_command(write10(8 * n), write=content[4096 * n :][:4096]) for n in range(64)]
        assert all(session.wait(task).good for task in tasks)
        tasks = [session.start_command(read10(8 * n), read=4096) for n in range(64)]
        assert b"".join(session.wait(task).data for task in tasks) == content
        compare = bytes([0x89, 0]) + bytes(8) + bytes([0, 0, 0, 8, 0, 0])
        assert session.command(compare, write=content[:4096] + b"n" * 4096).good
        assert session.command(compare, write=content[:4096] + b"m" * 4096).sense[12] == 0x1D
        assert session.read(0, 8) == b"n" * 4096
        assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("lun0-")]


def test_a_snapshot_can_only_be_read(cluster: Cluster, image: Image, store: Store) -> None:
    name = image()
    write(store(name), 0, b"before" + bytes(506))
    cloned(cluster, name, "s")
    write(store(name), 0, b"after!" + bytes(506))
    with serving(cluster, f"{name}@s") as session:
        assert session.read(0, 1)[:6] == b"before"
        assert session.command(write10(0, 1), write=bytes(512)).sense_code == (7, 0x27, 0)
    with serving(cluster, f"{name}-clone") as session:
        assert session.read(0, 1)[:6] == b"before"
        session.write(0, b"cloned" + bytes(506))
        assert session.read(0, 1)[:6] == b"cloned"
    assert content_of(store(name), 0, 6 * 512)[:6] == b"after!"


def test_compare_and_write_is_atomic_among_initiators(cluster: Cluster, image: Image) -> None:
    """Four of them count in one block, and none of their steps is lost; others write beside it meanwhile."""
    compare = bytes([0x89, 0]) + bytes(8) + bytes([0, 0, 0, 1, 0, 0])

    def count(number: int) -> None:
        with target.connect(f"i{number}") as session:
            done = 0
            while done < 25:
                before = session.read(0, 1)
                after = (int.from_bytes(before[:8], "big") + 1).to_bytes(8, "big") + bytes(504)
                session.write(1 + number, bytes(512))
                result = session.command(compare, write=before + after)
                assert result.good or result.sense[12] == 0x1D  # MISCOMPARE
                done += result.good
            counted.append(done)

    counted: list[int] = []
    with serve(f"rbd:{image()},conf={cluster.conf}") as target:
        threads = [threading.Thread(target=count, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with target.connect() as session:
            assert (counted, int.from_bytes(session.read(0, 1)[:8], "big")) == ([25] * 4, 100)


@pytest.mark.usefixtures("each_way")
def test_a_resize_from_outside_is_seen(cluster: Cluster, image: Image) -> None:
    _, rbd = modules()
    name = image(16 << 20)
    with serving(cluster, name) as session:
        assert session.read_capacity() == (32768, 512)
        pool = cluster.client.open_ioctx("rbd")
        with rbd.Image(pool, name.partition("/")[2]) as opened:
            opened.resize(32 << 20)
        pool.close()
        result = until(lambda: session.command(bytes(6)), lambda result: not result.good)
        assert result.sense_code == (6, 0x2A, 9)
        assert session.read_capacity() == (65536, 512)
        session.write(65528, b"e" * 4096)
        assert session.read(65528, 8) == b"e" * 4096
