"""A Ceph for the tests marked ``ceph``, made once, with two OSDs; skipped, with the reason, where there is none."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# For ceph_cluster, and for the lab, however pytest imports tests.
sys.path.insert(0, str(Path(__file__).parents[3] / "tests"))
sys.path.insert(0, str(Path(__file__).parent))

from ceph_cluster import Cluster, missing
from iscsitools.backstores.base import BackstoreError

from iscsitools_rbd.backstore import RbdBackstore
from iscsitools_rbd.ceph import modules
from iscsitools_rbd.native_image import native


@pytest.fixture(scope="session")
def ceph_installed() -> None:
    reason = missing()
    if not reason:
        try:
            modules()
        except BackstoreError as error:
            reason = str(error)
    if reason:
        if os.environ.get("ISCSITOOLS_REQUIRE_TOOLS") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def cluster(ceph_installed: None) -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="ceph-", dir="/tmp"))  # the paths of its sockets have to be short
    made = Cluster(folder)
    yield made
    made.stop()
    shutil.rmtree(folder)


@pytest.fixture(params=["native", "binding"])
def each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test by the module in C, and by the binding's callbacks, which are used where that was not built."""
    if request.param == "binding":
        monkeypatch.setattr("iscsitools_rbd.backstore.native", lambda: None)
    elif native() is None:
        if os.environ.get("ISCSITOOLS_REQUIRE_TOOLS") == "1":
            pytest.fail("the module in C was not built", pytrace=False)
        pytest.skip("the module in C was not built: it needs a C compiler")


@pytest.fixture
def image(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Callable[..., str]]:
    """``image(size, **options of RBD.create)`` makes an image and returns its name."""
    _, rbd = modules()
    pool = cluster.client.open_ioctx("rbd")
    names: list[str] = []

    def make(size: int = 16 << 20, name: str = "", **options: Any) -> str:
        name = name or f"disk-{len(names)}-{os.urandom(4).hex()}"
        rbd.RBD().create(pool, name, size, old_format=False, **options)
        names.append(name)
        return f"rbd/{name}"

    yield make
    pool.close()


@pytest.fixture
def store(cluster: Cluster) -> Callable[..., RbdBackstore]:
    """``store(name, **options)``: a backstore, not opened."""

    def make(name: str, **options: Any) -> RbdBackstore:
        made = RbdBackstore(name, conf=str(cluster.conf), **options)
        made.source = name
        return made

    return make
