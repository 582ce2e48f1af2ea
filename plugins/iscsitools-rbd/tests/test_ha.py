"""The short form of ``ha.py``: each fault once, on a Ceph of its own, for an OSD is lost at the end."""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ceph_cluster import Cluster
from ha import LIMIT, in_namespace, no_namespace, pair
from head_process import IQN, HeadProcess
from iscsitools.initiator import Session
from iscsitools.wire.scsi import Status
from verified_load import Load

from iscsitools_rbd.ceph import modules

pytestmark = pytest.mark.ceph


@pytest.fixture
def own_cluster(ceph_installed: None) -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="ceph-", dir="/tmp"))
    made = Cluster(folder)
    yield made
    made.stop()
    shutil.rmtree(folder)


def test_a_head_killed_a_head_stopped_and_an_osd_killed_lose_nothing(own_cluster: Cluster) -> None:
    pool = own_cluster.client.open_ioctx("rbd")
    modules()[1].RBD().create(pool, "ha", 64 << 20)
    pool.close()
    with pair(own_cluster, "rbd/ha") as heads:
        # A journal of atomic writes in one head's folder would be finished over what the other has written since.
        assert heads.longest_atomic_write() == 0
        heads.reserve()
        load = Load(heads.addresses)
        try:
            for kind in ("kill", "stop", "spare", "nomon"):
                assert heads.fault(kind, load) < LIMIT, f"{kind}: no write was answered for too long"
                assert heads.is_reserved(), f"{kind}: the reservation is gone"
            for kind in ("mon", "osd"):
                heads.fault(kind, load)
        finally:
            load.end()
        assert load.wrong == []


def test_a_head_cut_off_from_ceph_and_one_from_initiators_lose_nothing(cluster: Cluster) -> None:
    if reason := no_namespace():
        if os.environ.get("ISCSITOOLS_REQUIRE_TOOLS") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    done = in_namespace(["cut", "link"])
    assert done.returncode == 0, done.stdout
    told = re.findall(
        r"^ +[12] (cut|link) +no write answered for +[\d.]+ s, reservation kept$", done.stdout, re.MULTILINE
    )
    assert told == ["cut", "link"]
    assert "wrong: 0" in done.stdout


def test_writes_held_back_in_a_stopped_head_never_land(own_cluster: Cluster) -> None:
    """Longer than librbd's own breaking of a lock shuts the old client out: that lasts a second here, an hour else."""
    cluster = own_cluster
    pool = cluster.client.open_ioctx("rbd")
    modules()[1].RBD().create(pool, "held", 64 << 20)
    pool.close()
    cluster.command("config set", who="mon", name="mon_osd_blocklist_default_expire", value="1")
    with pair(cluster, "rbd/held", PatientHead) as heads:
        assert heads.active() == 0
        old, new = connect(heads.addresses[0]), connect(heads.addresses[1])
        for lba in range(0, 16 * 8, 8):
            old.write(lba, b"0" * 4096)
        cluster.command("osd pause")
        try:
            while old.command(cdb(0x28, 0), read=4096).status != Status.BUSY:
                pass  # the head has not heard of it yet
            held = [old.start_command(cdb(0x2A, lba), write=b"1" * 4096) for lba in range(0, 16 * 8, 8)]
            old.nop()  # they have been taken, and are with its client of Ceph now
            heads.heads[0].send(signal.SIGSTOP)
        finally:
            cluster.command("osd unpause")
        take_over(new)
        for lba in range(0, 16 * 8, 8):
            while not new.command(cdb(0x2A, lba), write=b"2" * 4096).good:
                pass  # a unit attention
        let_short_entries_expire(cluster)
        heads.heads[0].send(signal.SIGCONT)
        assert not any(old.wait(task).good for task in held)
        assert [new.read(lba, 8) for lba in range(0, 16 * 8, 8)] == [b"2" * 4096] * 16
        old.close()
        new.close()


def take_over(session: Session) -> None:
    """SET TARGET PORT GROUPS: group 2 becomes active."""
    to_group_2 = bytes(4) + bytes([0, 0]) + (2).to_bytes(2, "big")
    while not session.command(bytes.fromhex("a40a00000000000000080000"), write=to_group_2).good:
        pass  # its beats stood still, too


def let_short_entries_expire(cluster: Cluster) -> None:
    """Wait until the monitor has dropped an entry that was for a second, as librbd's own are here."""
    cluster.command("osd blocklist", blocklistop="add", addr="192.0.2.1:0/1")
    cluster.wait_for(lambda: "192.0.2.1" not in cluster.command("osd blocklist ls"), "an entry that expires")


class PatientHead(HeadProcess):
    """Takes over only when it is asked to, and does not give up while the cluster is paused."""

    takeover = "60s"


def connect(address: tuple[str, int]) -> Session:
    session = Session.connect(address, IQN, timeout=60.0)
    session.command(bytes(6))
    return session


def cdb(code: int, lba: int) -> bytes:
    return bytes([code, 0]) + lba.to_bytes(4, "big") + b"\0\0\x08\0"


def test_who_is_preempted_at_one_head_is_told_at_the_other(cluster: Cluster) -> None:
    pool = cluster.client.open_ioctx("rbd")
    modules()[1].RBD().create(pool, "preempted", 16 << 20)
    pool.close()
    with (
        pair(cluster, "rbd/preempted") as heads,
        connect(heads.addresses[0]) as one,
        connect(heads.addresses[1]) as two,
    ):
        for session, key in ((one, 1), (two, 2)):
            while not reserve_out(session, 6, 0, key).good:
                pass  # unit attentions: the other head has come
        for action, told in ((4, (6, 0x2A, 5)), (5, (6, 0x2A, 5)), (3, (6, 0x2A, 3))):
            while not reserve_out(one, action, 1, 2).good:
                pass
            assert two.command(bytes(6)).sense_code == told
            assert two.command(bytes(6)).sense_code[0] != 6
            for session, key in ((one, 1), (two, 2)):
                while not reserve_out(session, 6, 0, key).good:
                    pass


def reserve_out(session: Session, action: int, key: int, action_key: int) -> Any:
    """PERSISTENT RESERVE OUT of type write exclusive, registrants only."""
    parameters = key.to_bytes(8, "big") + action_key.to_bytes(8, "big") + bytes(8)
    return session.command(bytes([0x5F, action, 5]) + bytes(5) + b"\x18\0", write=parameters)
