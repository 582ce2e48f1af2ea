"""One TCP connection: whole PDUs out and in, with digests (RFC 7143 11.2), and the log of them."""

from __future__ import annotations

import select
import socket

from iscsitools.initiator.errors import ConnectionClosedError, DigestError
from iscsitools.initiator.pdu import Log, Pdu
from iscsitools.wire.rfc7143 import BHS_LENGTH, padding

try:
    from google_crc32c import value as _fast_crc32c
except ImportError:  # a bare guest machine
    _fast_crc32c = None  # type: ignore[assignment,unused-ignore]


def _table() -> list[int]:
    """What each value of a byte does to the sum; 0x82F63B78 is the polynomial, reflected (RFC 7143 13.1)."""
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


_TABLE = _table()


def crc32c_plain(data: bytes) -> int:
    """CRC32C in Python alone."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def digest(data: bytes) -> bytes:
    """The four bytes of a digest as they stand on the wire (RFC 7143 13.1: least significant first)."""
    crc = crc32c_plain(data) if _fast_crc32c is None else _fast_crc32c(data)
    return int(crc).to_bytes(4, "little")


def pad(data: bytes) -> bytes:
    """Data up to the next multiple of four bytes."""
    return data + bytes(padding(len(data)))


class PduSocket:
    """A connection. ``header_digest`` and ``data_digest`` are switched on when login has agreed on them.

    ``timeout``: seconds without a byte, in either direction, after which TimeoutError is raised.
    """

    def __init__(self, sock: socket.socket, log: Log, timeout: float) -> None:
        self.sock = sock
        self.log = log
        self.timeout = timeout
        self.header_digest = False
        self.data_digest = False
        self._got = bytearray()
        sock.settimeout(timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, bhs: bytes, ahs: bytes = b"", data: bytes = b"", corrupt: str = "") -> None:
        """Send one PDU. The length fields are set unless ``bhs`` has them; ``corrupt``: "header" or "data" digest."""
        head = bytearray(bhs)
        if ahs and not head[4]:
            head[4] = len(pad(ahs)) // 4
        if data and not any(head[5:8]):
            head[5:8] = len(data).to_bytes(3, "big")
        self.log.note(bytes(head), sent=True)
        out = bytes(head) + pad(ahs)
        if self.header_digest:
            out += self._spoil(digest(out), corrupt == "header")
        if data:
            body = pad(data)
            out += body
            if self.data_digest:
                out += self._spoil(digest(body), corrupt == "data")
        self.send_raw(out)

    @staticmethod
    def _spoil(crc: bytes, wrong: bool) -> bytes:
        return bytes([crc[0] ^ 1]) + crc[1:] if wrong else crc

    def send_raw(self, out: bytes) -> None:
        """Send bytes as they are; what arrives meanwhile is taken in, so that neither side waits for the other."""
        view = memoryview(out)
        while view:
            # Asked first: a socket with a timeout waits inside send, whatever its flags say.
            readable, writable, _ = select.select([self.sock], [self.sock], [], self.timeout)
            if not readable and not writable:
                raise TimeoutError(f"the target took no byte for {self.timeout:g} s")
            if writable:
                try:
                    view = view[self.sock.send(view) :]
                except (BrokenPipeError, ConnectionResetError) as error:
                    raise ConnectionClosedError(f"the target closed the connection: {error.strerror}") from error
            elif readable:
                self._more()

    def recv(self) -> Pdu:
        """The next PDU, its digests checked.

        Raises DigestError, ConnectionClosedError at the end of the stream, and TimeoutError.
        """
        bhs = self._take(BHS_LENGTH)
        ahs = self._take(4 * bhs[4])
        if self.header_digest and self._take(4) != digest(bhs + ahs):
            raise DigestError(f"the header digest is wrong: {bhs.hex()}")
        length = int.from_bytes(bhs[5:8], "big")
        body = self._take(length + padding(length))
        if length and self.data_digest and self._take(4) != digest(body):
            raise DigestError(f"the data digest is wrong: {bhs.hex()}")
        self.log.note(bhs, sent=False)
        return Pdu(bhs, ahs, body[:length])

    def readable(self, seconds: float) -> bool:
        """Whether there is something to receive, within so many seconds."""
        return bool(self._got) or bool(select.select([self.sock], [], [], seconds)[0])

    def _take(self, size: int) -> bytes:
        while len(self._got) < size:
            self._more()
        taken = bytes(self._got[:size])
        del self._got[:size]
        return taken

    def _more(self) -> None:
        try:
            got = self.sock.recv(1 << 18)
        except ConnectionResetError as error:
            raise ConnectionClosedError(f"the target closed the connection: {error.strerror}") from error
        except TimeoutError:
            raise TimeoutError(f"the target sent no byte for {self.timeout:g} s") from None
        if not got:
            raise ConnectionClosedError("the target closed the connection")
        self._got += got

    def close(self) -> None:
        """Close without a word (an initiator that vanishes)."""
        self.sock.close()
