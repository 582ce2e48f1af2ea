"""``user=`` on a Ceph that asks for keys (cephx): what a user may do, and what he is told that he may not."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ceph_cluster import Cluster
from iscsitools.backstores.base import BackstoreError
from iscsitools.testing.serving import serve
from iscsitools.testing.store_calls import read

from iscsitools_rbd.backstore import RbdBackstore
from iscsitools_rbd.ceph import modules

pytestmark = pytest.mark.ceph
HEADS = {"mon": "profile rbd", "osd": "profile rbd pool=rbd"}
"""What docs/ha.md says that a head's user needs."""
READS = {"mon": "profile rbd", "osd": "profile rbd-read-only pool=rbd"}


@pytest.fixture(scope="module")
def keyed(cluster: Cluster) -> Iterator[Cluster]:  # after the other one's checks of what is installed
    folder = Path(tempfile.mkdtemp(prefix="ceph-", dir="/tmp"))
    made = Cluster(folder, cephx=True)
    made.add_user("heads", **HEADS)
    made.add_user("reads", **READS)
    made.add_user("nothing", mon="allow r")
    yield made
    made.stop()
    shutil.rmtree(folder)


@pytest.fixture
def disk(keyed: Cluster) -> str:
    name = f"disk-{os.urandom(4).hex()}"
    pool = keyed.client.open_ioctx("rbd")
    rbd = modules()[1]
    rbd.RBD().create(pool, name, 16 << 20)
    with rbd.Image(pool, name) as image:
        image.write(b"k" * 4096, 0)
        image.create_snap("before")
    pool.close()
    return f"rbd/{name}"


@pytest.fixture
def store(keyed: Cluster) -> Callable[..., RbdBackstore]:
    return lambda name, **options: RbdBackstore(name, conf=str(keyed.conf), **options)


def test_a_user_with_a_key_serves(keyed: Cluster, disk: str) -> None:
    with serve(f"rbd:{disk},conf={keyed.conf},user=heads") as target, target.connect() as session:
        session.write(8, b"u" * 4096)
        assert session.read(0, 16) == b"k" * 4096 + b"u" * 4096


def test_one_that_may_only_read_serves_a_snapshot(store: Callable[..., RbdBackstore], disk: str) -> None:
    shown = store(f"{disk}@before", user="reads")
    shown.open()
    assert read(shown, 0, 512) == b"k" * 512
    assert shown.read_only
    shown.close()


@pytest.mark.parametrize("user", ["nobody", "nothing"])
def test_one_that_may_not_is_told_so_in_a_line(store: Callable[..., RbdBackstore], disk: str, user: str) -> None:
    with pytest.raises(BackstoreError, match=r"^rbd: [^\n]+$"):
        store(disk, user=user).open()


def test_heads_need_no_more_than_the_profile_of_rbd(store: Callable[..., RbdBackstore], disk: str) -> None:
    one, two = (store(disk, user="heads", head=number, takeover=60.0) for number in (1, 2))
    one.open()
    two.open()
    try:
        one.write(0, memoryview(b"1" * 512))
        two.request_access({2: "optimized"})  # shuts the other one's client out
        two.write(0, memoryview(b"2" * 512))
        end = time.monotonic() + 30
        while one.access != {1: "standby", 2: "optimized"}:
            assert time.monotonic() < end, one.access
            time.sleep(0.05)
        assert read(two, 0, 512) == b"2" * 512
    finally:
        two.close()
        one.close()
