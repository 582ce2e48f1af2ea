"""Sessions with an image that is served, and what tests wait for."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from ceph_cluster import Cluster
from iscsitools.testing.serving import serve

BUSY = 0x08


# Behind a server


@contextmanager
def serving(cluster: Cluster, name: str, options: str = "") -> Any:
    with serve(f"rbd:{name},conf={cluster.conf}{options}") as target, target.connect() as session:
        yield session


def write10(lba: int, blocks: int = 8) -> bytes:
    return bytes([0x2A, 0]) + lba.to_bytes(4, "big") + bytes([0]) + blocks.to_bytes(2, "big") + bytes(1)


def read10(lba: int, blocks: int = 8) -> bytes:
    return bytes([0x28]) + write10(lba, blocks)[1:]


def until(ask: Callable[[], Any], good: Callable[[Any], bool], seconds: float = 30) -> Any:
    end = time.monotonic() + seconds
    while not good(answer := ask()):
        assert time.monotonic() < end, f"still {answer} after {seconds:g} s"
        time.sleep(0.02)
    return answer
