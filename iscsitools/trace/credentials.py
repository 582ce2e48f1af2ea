"""Who is at the other end of a Unix socket, as the kernel of each system tells it.

Linux has SO_PEERCRED, illumos getpeerucred(3C), macOS and the BSDs LOCAL_PEERCRED and getpeereid(3). Where there is
none of them, the modes of the socket and of its folder are the only check.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any, Final

_UCRED: Final = struct.Struct("iII")  # struct ucred: pid, uid, gid
_LINUX_PEERCRED: Final = 17
_LINUX_PEERGROUPS: Final = 59  # Linux 4.13
_GROUPS_SIZE: Final = 1024  # what getsockopt of the socket module allows
_XUCRED: Final = struct.Struct("@IIh16I")  # struct xucred: version, uid, number of groups, groups
_LOCAL_PEERCRED: Final = 1

Credentials = tuple[int, set[int]]
"""The user, and the groups, of a process."""


def credentials(sock: socket.socket) -> Credentials | None:
    """The user and the groups of the process at the other end; None where the system has no way to tell.

    Of a process in more than 256 groups (16 on macOS and the BSDs) only the first ones. Raises OSError when the peer is
    gone.
    """
    for way in _ways():
        found = way(sock)
        if found is not None:
            return found
    return None


def _ways() -> list[Callable[[socket.socket], Credentials | None]]:
    if sys.platform.startswith("linux"):
        return [_by_peercred]
    if sys.platform.startswith("sunos"):
        return [_by_getpeerucred]
    return [_by_local_peercred, _by_getpeereid]


def _by_peercred(sock: socket.socket) -> Credentials:
    _, uid, gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, _LINUX_PEERCRED, _UCRED.size))
    try:
        groups = sock.getsockopt(socket.SOL_SOCKET, _LINUX_PEERGROUPS, _GROUPS_SIZE)
    except OSError:
        return uid, {gid}
    return uid, {gid, *struct.unpack(f"{len(groups) // 4}I", groups)}


def _by_local_peercred(sock: socket.socket) -> Credentials | None:
    """FreeBSD's unix(4), macOS's <sys/un.h>: option LOCAL_PEERCRED at level SOL_LOCAL, which is 0."""
    try:
        told = sock.getsockopt(0, _LOCAL_PEERCRED, 256)
    except OSError:
        return None
    if len(told) < _XUCRED.size:
        return None
    _, uid, count, *groups = _XUCRED.unpack_from(told)
    return uid, set(groups[: max(0, min(count, 16))])


def _by_getpeereid(sock: socket.socket) -> Credentials | None:
    library = _library()
    if not hasattr(library, "getpeereid"):
        return None
    uid, gid = ctypes.c_uint32(), ctypes.c_uint32()
    if library.getpeereid(sock.fileno(), ctypes.byref(uid), ctypes.byref(gid)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return uid.value, {gid.value}


def _by_getpeerucred(sock: socket.socket) -> Credentials | None:
    """illumos: getpeerucred(3C) allocates an ucred_t, ucred_get(3C) reads it, ucred_free(3C) gives it back."""
    library = _library()
    if not hasattr(library, "getpeerucred"):
        return None
    ucred = ctypes.c_void_p()
    if library.getpeerucred(sock.fileno(), ctypes.byref(ucred)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        groups = ctypes.POINTER(ctypes.c_uint32)()
        count = library.ucred_getgroups(ucred, ctypes.byref(groups))
        own = {library.ucred_getegid(ucred) & 0xFFFFFFFF}
        return library.ucred_geteuid(ucred) & 0xFFFFFFFF, own | {groups[n] for n in range(max(0, count))}
    finally:
        library.ucred_free(ucred)


def _library() -> Any:
    """The C library of this process."""
    return ctypes.CDLL(None, use_errno=True)
