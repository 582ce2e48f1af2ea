"""One initiator or watcher that asks as fast as it can, until standard input ends; fairness.py runs it.

usage: floods.py KIND HOST PORT TARGET WATCH_SOCKET

It prints ``flooding`` when it has begun, and at the end how many bytes went out and came in, and how often it had to
begin anew because the server had closed its connection.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from iscsitools.initiator import DEFAULT_OFFERS, NO_TAG, Opcode, Session, encode_keys, make_bhs
from iscsitools.initiator.pdu_socket import pad

BURST = 256 << 10
"""Bytes that are sent again and again; about what a server reads at once."""
LOGINS_AT_ONCE = 16
WATCHERS = 16
WATCHED_SESSIONS = 200
INITIATOR = "iqn.2026-11.example:flood"


@dataclass
class Place:
    """Where the server is."""

    address: tuple[str, int]
    target: str
    watch: str


@dataclass
class Flow:
    """One socket that is written to without end; ``begin`` makes it anew when the server has closed it."""

    begin: Callable[[], tuple[socket.socket, bytes]]
    once: bool = False
    """What is to be sent is sent once; then the server's closing is awaited."""
    sent: int = 0
    received: int = 0
    closed: int = 0
    sock: socket.socket = field(init=False)
    burst: bytes = field(init=False)
    _at: int = field(init=False, default=0)

    def open(self, selector: selectors.BaseSelector) -> None:
        """Connect, and have the selector watch it."""
        self.sock, self.burst = self.begin()
        self._at = 0
        self.sock.setblocking(False)
        selector.register(self.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, self)

    def write(self, selector: selectors.BaseSelector) -> None:
        """Send as much as goes."""
        count = self.sock.send(memoryview(self.burst)[self._at :])
        self.sent += count
        self._at += count
        if self._at == len(self.burst):
            self._at = 0
            if self.once:
                selector.modify(self.sock, selectors.EVENT_READ, self)

    def turn(self, events: int, selector: selectors.BaseSelector) -> None:
        """Read and write what is ready."""
        try:
            if events & selectors.EVENT_READ:
                count = len(self.sock.recv(1 << 20))
                self.received += count
                if not count:
                    raise ConnectionResetError
            if events & selectors.EVENT_WRITE:
                self.write(selector)
        except BlockingIOError:
            pass
        except OSError:
            self.closed += not self.once
            selector.unregister(self.sock)
            self.sock.close()
            self.open(selector)


def repeated(make: Callable[[int], bytes]) -> bytes:
    """A burst of PDUs with different ITTs."""
    size = len(make(1))
    return b"".join(make(itt) for itt in range(1, BURST // size + 1))


def request(opcode: int, cdb: bytes = b"", data: bytes = b"", **fields: int) -> Callable[[int], bytes]:
    """An immediate request, whose CmdSN stays the same, by its ITT."""
    return lambda itt: make_bhs(
        opcode, immediate=True, itt=itt, cmd_sn=1, cdb=cdb, data_length=len(data), **fields
    ) + pad(data)  # fmt: skip


REGISTER = struct.pack(">8xQ8x", 7)
"""Parameters of PERSISTENT RESERVE OUT: the new key (SPC-4 6.16.3)."""
KEYS = b"".join(b"%c%d=\0" % (97 + n % 26, n // 26) for n in range(512))
ALL_TARGETS = b"SendTargets=All\0"
IN_SESSION: dict[str, Callable[[int], bytes]] = {
    "NOP": request(Opcode.NOP_OUT, ttt=NO_TAG),
    "INQUIRY": request(Opcode.SCSI_COMMAND, struct.pack(">BBBHB", 0x12, 0, 0, 255, 0), flags=0xC1, edtl=255),
    "PR OUT": request(Opcode.SCSI_COMMAND, struct.pack(">BBBHIB", 0x5F, 6, 0, 0, 24, 0), REGISTER, flags=0xA1, edtl=24),
    "VERIFY": request(Opcode.SCSI_COMMAND, struct.pack(">BBIBHB", 0x2F, 0, 0, 0, 2048, 0), flags=0x81),
    "Text": request(Opcode.TEXT_REQUEST, data=KEYS, ttt=NO_TAG),
}


def in_session(place: Place, make: Callable[[int], bytes], discovery: bool = False) -> Flow:
    """One session that floods."""

    def begin() -> tuple[socket.socket, bytes]:
        session = Session.connect(place.address, place.target, initiator=INITIATOR, discovery=discovery)
        for _ in range(0 if discovery else 4):  # unit attentions come first
            session.command(bytes(6))
        first = session.cmd_sn
        burst = repeated(lambda itt: make(itt)[:24] + first.to_bytes(4, "big") + make(itt)[28:])
        return session.wire.sock, burst

    return Flow(begin)


def logins(place: Place) -> list[Flow]:
    """Connections that log in with one request, log out, and come again."""

    def begin() -> tuple[socket.socket, bytes]:
        keys = {"InitiatorName": INITIATOR, "SessionType": "Normal", "TargetName": place.target} | DEFAULT_OFFERS
        text = encode_keys(keys)
        isid = 0x800000000000 | int.from_bytes(os.urandom(5), "big")
        log_in = make_bhs(
            Opcode.LOGIN_REQUEST, immediate=True, flags=0x87, isid=isid, cid=1, cmd_sn=1, data_length=len(text)
        )
        log_out = make_bhs(Opcode.LOGOUT_REQUEST, immediate=True, flags=0x80, itt=1, cmd_sn=1, cid=1)
        return socket.create_connection(place.address), log_in + pad(text) + log_out

    return [Flow(begin, once=True) for _ in range(LOGINS_AT_ONCE)]


def watchers(place: Place) -> list[Flow]:
    """Readers that ask for the sessions without end."""

    def begin() -> tuple[socket.socket, bytes]:
        reader = socket.socket(socket.AF_UNIX)
        reader.connect(place.watch)
        return reader, json.dumps({"request": "sessions"}).encode() + b"\n"

    return [Flow(begin) for _ in range(WATCHERS)]


def flows(kind: str, place: Place, kept: list[Session]) -> list[Flow]:
    """The flood's sockets; ``kept`` holds what has to stay open beside them."""
    if kind in IN_SESSION:
        return [in_session(place, IN_SESSION[kind])]
    if kind == "SendTargets":
        return [in_session(place, request(Opcode.TEXT_REQUEST, data=ALL_TARGETS, ttt=NO_TAG), discovery=True)]
    if kind == "logins":
        return logins(place)
    kept += [
        Session.connect(place.address, place.target, initiator=INITIATOR, isid=0x400001380000 + n)
        for n in range(WATCHED_SESSIONS)
    ]
    return watchers(place)


def until_input_ends(selector: selectors.BaseSelector) -> Iterator[tuple[Flow, int]]:
    """What is ready, until standard input has ended."""
    selector.register(sys.stdin, selectors.EVENT_READ)
    while True:
        for key, events in selector.select():
            if key.data is None:
                return
            yield key.data, events


def main() -> None:
    """Flood until told to stop."""
    kind, host, port, target, watch = sys.argv[1:]
    os.nice(10)  # whoever measures goes first
    place = Place((host, int(port)), target, watch)
    kept: list[Session] = []
    selector = selectors.DefaultSelector()
    all_flows = flows(kind, place, kept)
    for flow in all_flows:
        flow.open(selector)
    print("flooding", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        for flow, events in until_input_ends(selector):
            flow.turn(events, selector)
    totals = {name: sum(getattr(flow, name) for flow in all_flows) for name in ("sent", "received", "closed")}
    print(json.dumps(totals))


if __name__ == "__main__":
    main()
