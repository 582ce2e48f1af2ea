"""Who is behind a socket: the process is asked, by the calls that each system has."""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from iscsitools import trace
from iscsitools.trace import credentials, names

from .support import Host


def test_the_process_behind_a_socket_is_asked(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [entry.name for entry in trace.servers()] == ["test"]
    monkeypatch.setattr(names, "credentials", lambda sock: (54321, {54321}))
    assert trace.servers() == []


def test_without_the_constant_of_linux(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "SO_PEERCRED", raising=False)
    trace.WatchedServer(socket=host.watch).close()


class OtherSystem:
    """A C library with the calls of another system, for a peer of user 1234 in groups 5 and 6."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.freed = 0

    def getpeereid(self, fd: int, uid: Any, gid: Any) -> int:
        uid._obj.value, gid._obj.value = 1234, 5
        return -1 if self.fails else 0

    def getpeerucred(self, fd: int, ucred: Any) -> int:
        ucred._obj.value = 77
        return -1 if self.fails else 0

    def ucred_geteuid(self, ucred: Any) -> int:
        return 1234

    def ucred_getegid(self, ucred: Any) -> int:
        return 5

    def ucred_getgroups(self, ucred: Any, groups: Any) -> int:
        self.groups = (ctypes.c_uint32 * 2)(5, 6)
        groups._obj.contents = self.groups[0:1] and ctypes.c_uint32.from_buffer(self.groups)
        return 2

    def ucred_free(self, ucred: Any) -> None:
        self.freed += 1


@pytest.mark.parametrize(("platform", "groups"), [("sunos5", {5, 6}), ("darwin", {5}), ("freebsd14", {5})])
def test_the_calls_of_other_systems(monkeypatch: pytest.MonkeyPatch, platform: str, groups: set[int]) -> None:
    library = OtherSystem()
    monkeypatch.setattr(credentials, "_library", lambda: library)
    monkeypatch.setattr(sys, "platform", platform)
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        assert credentials.credentials(one) == (1234, groups)
        library.fails = True
        with pytest.raises(OSError, match=r"\d"):
            credentials.credentials(one)
    assert library.freed == (platform == "sunos5")


def test_the_option_of_macos_and_the_bsds() -> None:
    told = struct.pack("@IIh16I", 0, 1234, 2, 5, 6, *[0] * 14)
    sock: Any = SimpleNamespace(getsockopt=lambda level, option, size: told)
    assert credentials._by_local_peercred(sock) == (1234, {5, 6})


def test_a_system_that_cannot_tell_relies_on_the_modes(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iscsitools.trace.feed.service.credentials", lambda sock: None)
    trace.WatchedServer(socket=host.watch).close()
