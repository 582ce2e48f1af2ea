"""What a server leaves to the one that takes over, and the way from one process to the other.

A message is a JSON object behind its length, and behind it the descriptors that it names the number of. What is said,
in this order: the old server sends all (:class:`Heritage`); the new one answers ``ready``, or ``failed`` with lines for
people; after ``ready`` the old one says ``yours`` and ends, or ``mine`` if it has given up meanwhile.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from iscsitools.config import LunConfig
from iscsitools.config.document import lun_document

VERSION: Final = 1
_LENGTH: Final = struct.Struct(">QI")
_LONGEST: Final = 64 << 20
_AT_ONCE: Final = 64
"""Descriptors in one message of the socket; Linux takes 253."""

Message = dict[str, Any]


@dataclass(slots=True)
class UnitHeritage:
    """A unit. ``lun``: its table in the document. ``state``: of ``LogicalUnit.state``.

    ``faults``: what has been put into force of its filters. ``memory``: a descriptor with what only memory has, or -1.
    """

    lun: Message
    state: Message
    faults: list[Message] = field(default_factory=list)
    memory: int = -1

    def let_go(self) -> None:
        """Close its memory."""
        if self.memory >= 0:
            os.close(self.memory)
        self.memory = -1


@dataclass(slots=True)
class Heritage:
    """All of it. ``document``: the configuration. ``sockets``: listening ones, with their portals as texts.

    ``generation``: of the configuration. ``tsih``: the last one that was given.
    """

    document: Message
    generation: int
    tsih: int
    sockets: list[tuple[str, socket.socket]] = field(default_factory=list)
    units: dict[tuple[str, int], UnitHeritage] = field(default_factory=dict)

    def unit(self, iqn: str, lun: LunConfig) -> UnitHeritage | None:
        """What is left of a LUN, if that is the same one; None: it is another, or there was none."""
        found = self.units.get((iqn, lun.number))
        return found if found is not None and found.lun == lun_document(lun) else None

    def close(self) -> None:
        """Close the descriptors that nobody has taken."""
        for _, sock in self.sockets:
            sock.close()
        for unit in self.units.values():
            unit.let_go()

    def to_message(self) -> tuple[Message, list[int]]:
        """The message and its descriptors."""
        fds = [sock.fileno() for _, sock in self.sockets]
        units = []
        for (iqn, number), unit in self.units.items():
            place = -1
            if unit.memory >= 0:
                place = len(fds)
                fds.append(unit.memory)
            units.append([iqn, number, unit.lun, unit.state, unit.faults, place])
        told = {
            "version": VERSION, "document": self.document, "generation": self.generation, "tsih": self.tsih,
            "portals": [portal for portal, _ in self.sockets], "units": units,
        }  # fmt: skip
        return told, fds

    @classmethod
    def from_message(cls, told: Message, fds: Sequence[int]) -> Heritage:
        """Of a message; raises ValueError when it is none that this version knows."""
        if told.get("version") != VERSION:
            raise ValueError(f"what the running server hands over is of version {told.get('version')}, not {VERSION}")
        try:
            made = cls(told["document"], int(told["generation"]), int(told["tsih"]))
            made.sockets = [(portal, socket.socket(fileno=fds[n])) for n, portal in enumerate(told["portals"])]
            for _, sock in made.sockets:
                sock.setblocking(False)  # which both processes share; this object has to know it
            for iqn, number, lun, state, faults, place in told["units"]:
                made.units[iqn, number] = UnitHeritage(lun, state, faults, fds[place] if place >= 0 else -1)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"what the running server hands over makes no sense: {error!r}") from None
        return made


class HandoverChannel:
    """The connection between the two. Its methods raise OSError; EOFError when the other one is gone."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send a message with descriptors, which stay open here."""
        text = json.dumps(message).encode()
        self._sock.sendall(_LENGTH.pack(len(text), len(fds)) + text)
        for at in range(0, len(fds), _AT_ONCE):
            socket.send_fds(self._sock, [b"F"], list(fds[at : at + _AT_ONCE]))

    def receive(self, timeout: float) -> tuple[Message, list[int]]:
        """The next message and its descriptors. Raises TimeoutError, and ValueError for what is no message."""
        self._sock.settimeout(timeout)
        length, count = _LENGTH.unpack(self._exactly(_LENGTH.size))
        if length > _LONGEST:
            raise ValueError("a message that is too long")
        message = json.loads(self._exactly(length))
        fds: list[int] = []
        while len(fds) < count:
            data, some, _, _ = socket.recv_fds(self._sock, 1, _AT_ONCE)
            if not data:
                raise EOFError
            fds += some
        for fd in fds:
            os.set_inheritable(fd, False)
        return message, fds

    def _exactly(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            part = self._sock.recv(min(count - len(parts), 1 << 16))
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)

    @property
    def peer(self) -> int:
        """The process at the other end."""
        pid: int = struct.unpack("3i", self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        return pid

    def close(self) -> None:
        """Hang up."""
        self._sock.close()
