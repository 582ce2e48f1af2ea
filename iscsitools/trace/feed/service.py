"""The two sockets of a server, and the readers on them."""

from __future__ import annotations

import grp
import os
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from iscsitools import __version__
from iscsitools.probes.firing import Probes
from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.trace import names
from iscsitools.trace.credentials import credentials
from iscsitools.trace.feed.answers import ReaderRequests, greeting
from iscsitools.trace.feed.event_loop import EventLoop
from iscsitools.trace.feed.peer import Peer
from iscsitools.trace.feed.questions import ControlHandler, NoSelfDescription, SelfDescription
from iscsitools.trace.protocol import ReaderLimits, TraceError, encode
from iscsitools.trace.record import VERSION

_PAUSE: Final = 1.0
"""Seconds for which no reader is accepted when the process is out of descriptors."""


class TraceServer:
    """Makes NAME.watch (for its owner and group) and NAME.control (for its owner), and serves readers on them.

    ``directory``: where, instead of the first run directory that can be used. ``group``: a group's name or number for
    the watch socket. Raises TraceError: the name is in use, the directory or the group is not to be had.
    """

    def __init__(
        self,
        probes: Probes,
        name: str,
        directory: Path | None = None,
        group: str | int | None = None,
        limits: ReaderLimits | None = None,
        state: SelfDescription | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        control: ControlHandler | None = None,
    ) -> None:
        self.name = name
        self._probes = probes
        self._limits = limits or ReaderLimits()
        self._state = state or NoSelfDescription()
        self._clock = clock
        self._control = control
        self._group_wanted = group
        self._complained = False
        self._loop: EventLoop | None = None
        self._requests: ReaderRequests | None = None
        self._peers: set[Peer] = set()
        self._sockets: list[socket.socket] = []
        self._lock = -1
        self._own_directory = directory
        self._open()

    def _open(self) -> None:
        directory = self._own_directory or names.make_directory()
        self.paths = names.paths(self.name, directory)
        try:
            names.clean(directory)
            self._lock = names.take_lock(self.name, self.paths.lock)
        except OSError as error:
            raise TraceError(f"{self.paths.lock}: {error.strerror}") from None
        try:
            self._listen(_group_number(self._group_wanted))
        except (OSError, TraceError) as error:
            self._stop_listening()
            raise TraceError(f"{self.paths.watch}: {error}") from None

    def look_after(self) -> str:
        """Make the sockets anew if their folder was removed, as systemd-logind does after a user's last logout.

        Returns a line for the log, or "". To be called now and then; readers that are connected stay.
        """
        if names.is_there(self.paths.watch, self._inode) or not self._loop or not self._requests:
            return ""
        before = self.paths.watch
        self._stop_listening()
        try:
            self._open()
        except TraceError as error:
            complained, self._complained = self._complained, True
            return "" if complained else f"{before} was removed, and nobody can watch this server any more: {error}"
        self._complained = False
        self._watch_sockets()
        return f"{before} was removed; the sockets for those who watch are {self.paths.watch} and .control now"

    @property
    def readers(self) -> int:
        """How many programs are connected to the two sockets."""
        return len(self._peers)

    @property
    def memory(self) -> int:
        """Bytes of all rings and buffers."""
        return self._requests.memory if self._requests else 0

    @property
    def drops(self) -> int:
        """Events that readers lost because they were too slow, of those that are gone too."""
        return self._requests.drops if self._requests else 0

    def register(self, loop: EventLoop) -> None:
        """Begin to serve. Called once."""
        self._loop = loop
        self._requests = ReaderRequests(self._probes, loop, self._limits, self._state, self._clock, self._control)
        self._watch_sockets()

    def _watch_sockets(self) -> None:
        loop, requests = self._loop, self._requests
        assert loop is not None
        assert requests is not None
        for sock, control in zip(self._sockets, (False, True), strict=True):
            loop.add_reader(sock.fileno(), partial(self._accept, loop, requests, sock, control))

    def held(self) -> list[tuple[ConnectionInfo, int]]:
        """What the readers' sums keep for commands that have not ended: each connection, and bytes."""
        return self._requests.held() if self._requests else []

    def connection_closed(self, ident: int) -> None:
        """Tell the readers that an iSCSI connection is no more. Call it on the loop's thread, outside of any event."""
        if self._peers and self._requests:
            self._requests.connection_closed(ident)

    def close(self) -> None:
        """Let all readers go and remove the sockets."""
        if self._requests:
            self._requests.flush()
        for peer in list(self._peers):
            peer.close()
        self._stop_listening()

    def _stop_listening(self) -> None:
        for sock in self._sockets:
            if self._loop:
                self._loop.remove_reader(sock.fileno())
            sock.close()
        self._sockets = []
        if self._lock >= 0:
            names.remove(self.paths)
            os.close(self._lock)
            self._lock = -1

    def _listen(self, group: int) -> None:
        for path, mask in ((self.paths.watch, 0o117), (self.paths.control, 0o177)):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._sockets.append(sock)
            sock.setblocking(False)
            before = os.umask(mask)
            try:
                sock.bind(os.fspath(path))
            finally:
                os.umask(before)
            if path == self.paths.watch and group >= 0:
                os.chown(path, -1, group)
        found = os.stat(self.paths.watch)
        self._group, self._inode = found.st_gid, (found.st_dev, found.st_ino)
        for sock in self._sockets:
            sock.listen(16)

    def _accept(self, loop: EventLoop, requests: ReaderRequests, listener: socket.socket, control: bool) -> None:
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            return
        except OSError:
            # Out of descriptors, most likely: the socket stays readable, so leave it alone for a moment.
            loop.remove_reader(listener.fileno())
            loop.call_later(_PAUSE, partial(self._listen_again, loop, requests, listener, control))
            return
        if not self._may(sock, control):
            self._turn_away(sock, "you may not use this socket")
        elif len(self._peers) >= self._limits.readers:
            self._turn_away(sock, f"the limit of {self._limits.readers} readers is reached")
        else:
            peer = Peer(
                sock,
                loop,
                self._limits,
                control=control,
                handle=requests.handle,
                gone=self._gone,
                shared=requests.budget,
            )
            self._peers.add(peer)
            peer.send_message({"iscsitools-trace": VERSION, "server": greeting(self.name, os.getpid(), __version__)})

    def _listen_again(self, loop: EventLoop, requests: ReaderRequests, listener: socket.socket, control: bool) -> None:
        if listener.fileno() >= 0:
            loop.add_reader(listener.fileno(), partial(self._accept, loop, requests, listener, control))

    def _may(self, sock: socket.socket, control: bool) -> bool:
        """Ask the kernel who is there: the file's mode is the first check, this one does not depend on it."""
        try:
            found = credentials(sock)
        except OSError:
            return False
        if found is None:
            return True  # a system that cannot tell: the modes of socket and folder have let it in
        uid, groups = found
        return uid in (0, os.geteuid()) or (not control and self._group in groups)

    def _turn_away(self, sock: socket.socket, reason: str) -> None:
        sock.setblocking(False)
        with sock:
            try:
                sock.send(encode({"iscsitools-trace": VERSION, "error": reason}))
            except OSError:
                return

    def _gone(self, peer: Peer) -> None:
        self._peers.discard(peer)
        if self._requests:
            self._requests.let_go(peer)


def _group_number(group: str | int | None) -> int:
    if group is None:
        return -1
    if isinstance(group, int):
        return group
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise TraceError(f"there is no group named {group!r}") from None
