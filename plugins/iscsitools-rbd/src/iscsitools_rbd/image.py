"""An open image, with the client that it was opened by."""

from __future__ import annotations

import contextlib
from typing import Any

from iscsitools.backstores.base import BackstoreError

from iscsitools_rbd.ceph import Account, connect, modules, reason
from iscsitools_rbd.names import ImageName


class OpenImage:
    """``image``, ``pool`` and ``cluster`` are the bindings' objects; what the cluster shuts out is all of it."""

    def __init__(self, account: Account, settings: dict[str, str], name: ImageName, read_only: bool) -> None:
        """Connect and open. Raises BackstoreError."""
        rados, rbd = modules()
        self.name = name
        self.cluster: Any = connect(account, settings)
        try:
            self.pool: Any = self.cluster.open_ioctx(name.pool)
            self.pool.set_namespace(name.namespace)
            self.image: Any = rbd.Image(self.pool, name.image, snapshot=name.snapshot or None, read_only=read_only)
            self.size: int = self.image.size()
            self.cached = self._setting("rbd_cache") == "true"
            self.ident = str(self.image.id() or name.image)
            self.identity = self._find_identity()
        except (rados.Error, rbd.Error) as error:
            self.cluster.shutdown()
            raise BackstoreError(f"rbd: {name}: {reason(error)}") from None

    def _setting(self, name: str) -> str:
        """What is in force for the image, which may have settings of its own in the pool."""
        return next((str(option["value"]) for option in self.image.config_list() if option["name"] == name), "")

    def _find_identity(self) -> str:
        """Cluster, pool and image by their ids, which no renaming changes; a snapshot is another disk."""
        identity = f"rbd:{self.cluster.get_fsid()}/{self.pool.get_pool_id()}/{self.name.namespace}/{self.ident}"
        if self.name.snapshot:
            identity += f"@{self.image.snap_get_id(self.name.snapshot)}"
        return identity

    @property
    def address(self) -> str:
        """By which the cluster shuts this client out."""
        return str(self.cluster.get_addrs())

    def owners(self) -> list[str]:
        """The owners of the exclusive lock."""
        return [str(owner["owner"]) for owner in self.image.lock_get_owners()]

    def break_lock(self, owner: str) -> None:
        """Take the lock from an owner."""
        self.image.lock_break(modules()[1].RBD_LOCK_MODE_EXCLUSIVE, owner)

    def acquire(self) -> None:
        """Take the lock for as long as this is open."""
        self.image.lock_acquire(modules()[1].RBD_LOCK_MODE_EXCLUSIVE)

    def wait_for_map(self) -> None:
        """Wait until this client has the newest map of OSDs."""
        self.cluster.wait_for_latest_osdmap()

    def resize(self, size: int) -> None:
        """Give the image another size, in bytes."""
        self.image.resize(size)

    def close(self) -> None:
        """Close all of it. It waits for Ceph, without an end if that does not answer."""
        rados, rbd = modules()
        with contextlib.suppress(rados.Error, rbd.Error):
            self.image.close()
            self.pool.close()
        self.cluster.shutdown()
