"""The short form of ``ha.py``: each fault once, on a Ceph of its own, for an OSD is lost at the end."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ceph_cluster import Cluster
from ha import LIMIT, Load, pair

from iscsitools_rbd.ceph import modules

pytestmark = pytest.mark.ceph


@pytest.fixture
def own_cluster(cluster: Cluster) -> Iterator[Cluster]:  # after the other one's checks of what is installed
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
        heads.reserve()
        load = Load(heads.ports)
        try:
            for kind in ("kill", "stop"):
                assert heads.fault(kind, load) < LIMIT, f"{kind}: nobody took over"
                assert heads.is_reserved(), f"{kind}: the reservation is gone"
            heads.fault("osd", load)
        finally:
            load.end()
        assert load.wrong == []
        # A journal of atomic writes in one head's folder would be finished over what the other has written since.
        assert not list(heads.folder.glob("state-*/atomic"))
        assert load.reads > 100
