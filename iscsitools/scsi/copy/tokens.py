"""ROD tokens (SPC-4 5.17.6, 6.4.7): what stands for blocks of a unit, and lets who has it copy them.

A token here is one of *access upon reference*: it stands for what the blocks hold when it is used, not when it was
made. It can be used in the server that made it, as long as the session that asked for it goes on and may still read
the blocks, and no longer than its inactivity timeout after it was made or used last.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from iscsitools.scsi.copy.descriptors import cscd_descriptor
from iscsitools.scsi.copy.rights import Party
from iscsitools.scsi.core.domain import Domain
from iscsitools.scsi.core.errors import illegal_request
from iscsitools.scsi.core.nexus import Nexus
from iscsitools.wire.sense import Asc

ACCESS_UPON_REFERENCE: Final = 0x00010000
ZEROS: Final = 0xFFFF0001
"""The block device zero ROD token (SBC-3 4.23.4): it needs no making and reads as zeros."""
LENGTH: Final = 512
_BODY_LENGTH: Final = LENGTH - 8
MOST_TOKENS: Final = 1024
"""Of a server."""
MOST_OF_ONE: Final = 128
"""Of one initiator."""
DEFAULT_TIMEOUT: Final = 60
LONGEST_TIMEOUT: Final = 600
"""Seconds without use after which a token expires."""
_SECRET: Final = 64


@dataclass(slots=True)
class Token:
    """``ranges``: first block and number of blocks of each; ``until``: in the domain's milliseconds."""

    maker: Party
    ranges: tuple[tuple[int, int], ...]
    timeout: int
    until: int = 0

    @property
    def bytes(self) -> int:
        """How many bytes it stands for."""
        return sum(blocks for _, blocks in self.ranges) * self.maker.unit.block_size


class Tokens:
    """The tokens of a server."""

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self._tokens: dict[bytes, Token] = {}

    def make(self, token: Token) -> bytes:
        """Make a token; returns its text. Raises ScsiError when there are as many as may be."""
        self._forget_old()
        initiator = token.maker.nexus.initiator
        of_one = sum(other.maker.nexus.initiator == initiator for other in self._tokens.values())
        if len(self._tokens) >= MOST_TOKENS or of_one >= MOST_OF_ONE:
            raise illegal_request(Asc.INSUFFICIENT_TOKEN_RESOURCES)
        text = self._text(token)
        self._tokens[text] = token
        self._used(token)
        return text

    def find(self, text: bytes) -> Token:
        """The token of that text, which is used by this. Raises ScsiError, INVALID TOKEN OPERATION."""
        self._forget_old()
        token = self._tokens.get(text)
        if token is None:
            raise illegal_request(Asc.TOKEN_UNKNOWN)
        if next(token.maker.nexuses(token.maker.unit), None) is None:
            del self._tokens[text]
            raise illegal_request(Asc.TOKEN_REVOKED)
        self._used(token)
        return token

    def delete(self, text: bytes) -> None:
        """Nobody can use that token any more."""
        self._tokens.pop(text, None)

    def nexus_lost(self, nexus: Nexus) -> None:
        """Its tokens end with it."""
        for text in [text for text, token in self._tokens.items() if token.maker.nexus is nexus]:
            del self._tokens[text]

    def _used(self, token: Token) -> None:
        token.until = self._domain.clock() + token.timeout * 1000

    def _forget_old(self) -> None:
        now = self._domain.clock()
        for text in [text for text, token in self._tokens.items() if token.until < now or token.maker.unit.removed]:
            del self._tokens[text]

    def _text(self, token: Token) -> bytes:
        """The 512 bytes of SPC-4 table 122; COPY MANAGER ROD TOKEN IDENTIFIER and the extended data are random."""
        secret = self._domain.random(8 + _SECRET)
        head = struct.pack(">IHH", ACCESS_UPON_REFERENCE, 0, _BODY_LENGTH) + secret[:8]
        size = token.bytes.to_bytes(16, "big")
        body = head + cscd_descriptor(token.maker.unit) + size + bytes(32) + bytes(32) + secret[8:]
        return body.ljust(LENGTH, b"\0")


def zeros_token() -> bytes:
    """The block device zero ROD token."""
    return struct.pack(">IHH", ZEROS, 0, _BODY_LENGTH).ljust(LENGTH, b"\0")
