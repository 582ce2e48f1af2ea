"""A Ceph that is gone for a while, stands still, or has shut this client out."""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable

import pytest
from ceph_cluster import Cluster
from image_sessions import BUSY, read10, serving, until, write10

from iscsitools_rbd.backstore import RbdBackstore

pytestmark = pytest.mark.ceph
Image = Callable[..., str]
Store = Callable[..., RbdBackstore]


@pytest.mark.usefixtures("each_way")
def test_while_ceph_is_gone_commands_get_busy_and_then_it_goes_on(cluster: Cluster, image: Image) -> None:
    with serving(cluster, image(), ",wait=1s") as session:
        session.write(0, b"1" * 4096)
        cluster.command("osd pause")
        try:
            until(lambda: session.command(read10(64), read=4096), lambda result: result.status == BUSY)  # it knows now
            assert session.command(write10(0), write=b"2" * 4096).status == BUSY
            assert session.command(write10(7), write=b"3" * 4096).status == BUSY  # the first one may still land
            assert session.command(bytes(6)).good
        finally:
            cluster.command("osd unpause")
        until(lambda: session.command(write10(0), write=b"4" * 4096), lambda result: result.good)
        assert session.read(0, 8) == b"4" * 4096


def test_an_osd_that_is_stopped_costs_time_and_nothing_else(cluster: Cluster, image: Image) -> None:
    with serving(cluster, image(), ",wait=1s") as session:
        session.write(0, b"1" * 4096)
        for name in ("osd.0", "osd.1"):
            cluster.signal(name, signal.SIGSTOP)
        try:
            assert session.command(write10(0), write=b"2" * 4096).status == BUSY
        finally:
            for name in ("osd.0", "osd.1"):
                cluster.signal(name, signal.SIGCONT)
        until(lambda: session.command(write10(0), write=b"3" * 4096), lambda result: result.good)
        assert session.read(0, 8) == b"3" * 4096
        cluster.wait_for(lambda: cluster.osds_up() == 2, "OSDs up again")


@pytest.mark.usefixtures("each_way")
def test_a_client_that_was_shut_out_is_not_ready(cluster: Cluster, image: Image, store: Store) -> None:
    disk = store(image())
    disk.open()
    address = disk._path.image.address
    cluster.command("osd blocklist", blocklistop="add", addr=address)
    error = until(lambda: raised(disk), lambda error: error is not None)
    assert error.errno == errno.ENODEV
    assert disk.trouble == "Ceph has shut this client out"
    disk.close()


def raised(disk: RbdBackstore) -> OSError | None:
    try:
        disk.write(0, memoryview(bytes(512)))
    except OSError as error:
        return error
    return None
