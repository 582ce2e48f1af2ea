"""A client of a Ceph cluster, by the bindings that the distribution packages, and what its errors mean."""

from __future__ import annotations

import ctypes
import errno
import os
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

from iscsitools.backstores.base import BackstoreError
from iscsitools.backstores.system_modules import import_system_module

SHUT_DOWN: Final = frozenset({errno.ESHUTDOWN, errno.ENOTCONN})
"""What a client gets that the cluster has shut out (blocklisted), for everything that it asks."""


@dataclass(frozen=True, slots=True)
class Account:
    """How to reach the cluster. ``conf``: its configuration file, empty: where Ceph looks; ``seconds``: to wait."""

    conf: str
    user: str
    seconds: float


def modules() -> tuple[ModuleType, ModuleType]:
    """The modules ``rados`` and ``rbd``. Raises BackstoreError with a line that says what to install."""
    rados = import_system_module("rados", package="python3-rados")
    return rados, import_system_module("rbd", "rados", package="python3-rbd")


def connect(account: Account, settings: dict[str, str]) -> Any:
    """A client of its own, with these settings of Ceph. Raises BackstoreError.

    A client for each disk: what the cluster shuts out is a client, whatever it has open.
    """
    rados, _ = modules()
    cluster = None
    try:
        default = rados.Rados.DEFAULT_CONF_FILES
        cluster = rados.Rados(rados_id=account.user, conffile=account.conf or os.environ.get("CEPH_CONF") or default)
        cluster.conf_set("client_mount_timeout", str(max(1, round(account.seconds))))
        for name, value in settings.items():
            cluster.conf_set(name, value)
        cluster.connect(timeout=account.seconds)
    except rados.Error as error:
        if cluster is not None:
            cluster.shutdown()
        if isinstance(error, rados.TimedOut):
            raise BackstoreError(f"rbd: no monitor of Ceph has answered within {account.seconds:g} s") from None
        raise BackstoreError(f"rbd: client.{account.user}: {reason(error)}") from None
    return cluster


def reason(error: BaseException) -> str:
    """What an exception of the bindings says, without its class and errno."""
    return " ".join(str(error).split()) or type(error).__name__


def failure(code: int, what: str) -> OSError | None:
    """The exception for what a call has returned; None: it has succeeded.

    A client that was shut out reports a disk that is not there, and so does an image that was removed.
    """
    if code >= 0:
        return None
    number = -code
    if number in SHUT_DOWN:
        return OSError(errno.ENODEV, f"{what}: the cluster has shut this client out")
    if number == errno.ETIMEDOUT:
        return OSError(errno.EBUSY, f"{what}: Ceph did not answer in time")
    return OSError(number, f"{what}: {os.strerror(number)}")


def abandon(*objects: object) -> None:
    """Ceph does not answer, and a thread may be inside of these: they stay as they are until the process has ended.

    The bindings' objects close what they stand for when they are collected, under that thread's feet.
    """
    for each in objects:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(each))
