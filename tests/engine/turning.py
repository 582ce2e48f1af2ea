"""A wire that is a pair of sockets: the data path receives from one and sends to it, as it does in the server."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import termios
import weakref

from iscsitools.initiator import Pdu
from iscsitools.iscsi.connection.connection import Connection
from iscsitools.iscsi.connection.turns import NOT_NOW

from .harness import Target, Wire

PIECE = 64 << 10


class TurningWire(Wire):
    """Does what ``server.tcp_connection`` does with a socket, one turn after the other."""

    def __init__(self, target: Target, conn: Connection) -> None:
        super().__init__(target, conn)
        self.ours, self.theirs = socket.socketpair()
        for sock in (self.ours, self.theirs):
            sock.setblocking(False)
            weakref.finalize(self, sock.close)
        self._to_come = b""
        """What the sockets have no room for."""
        self.turns = 0
        """Turns that the data path took by itself."""

    def feed(self, data: bytes, piece: int = 0) -> None:
        self._to_come += data
        self._pump(piece or PIECE)

    def _pump(self, piece: int = PIECE) -> None:
        """Serve all that has come, as far as the engine takes it."""
        while not self.conn.close_reason and not self.conn.stalled:
            if self._to_come and not self._waiting():
                self._to_come = self._to_come[self.theirs.send(self._to_come[:piece]) :]
            if not self._waiting():
                break
            self._turn()
            self._drain()
            while self.conn.unfinished:
                self.conn.go_on(self.target.now)

    def _waiting(self) -> int:
        """Bytes that can be received."""
        (count,) = struct.unpack("i", fcntl.ioctl(self.ours, termios.FIONREAD, bytes(4)))
        return int(count)

    def _turn(self) -> None:
        now = self.target.now
        if self.conn.turn(self.ours.fileno(), now) != NOT_NOW:
            self.turns += 1
            return
        count, *_ = self.ours.recvmsg_into(self.conn.get_buffers())
        self.conn.received(count, now)

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := self.theirs.recv(1 << 20):
                self._rest += data

    def receive(self) -> list[Pdu]:
        while True:
            self._drain()
            pieces = self.conn.output()
            if not pieces and not self.conn.stalled and not self.conn.unfinished and not self._to_come:
                break
            data = b"".join(pieces)
            self._rest += data
            self.conn.sent(len(data), self.target.now)
            while self.conn.unfinished or (self.conn.stalled and not self.conn.out.unsent()):
                self.conn.go_on(self.target.now)
            if self.conn.close_reason:
                self._to_come = b""
            self._pump()
        return list(self._cut())
