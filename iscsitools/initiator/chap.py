"""CHAP as an initiator does it (RFC 7143 12.1.3, RFC 1994, algorithm numbers of IANA's PPP registry)."""

from __future__ import annotations

import base64
import hashlib
import os

from iscsitools.initiator.errors import ProtocolError

ALGORITHMS = {"5": "md5", "6": "sha1", "7": "sha256", "8": "sha3_256"}
"""What CHAP_A names (IANA's PPP Authentication Algorithms), as hashlib calls it."""


def decode_binary(text: str) -> bytes:
    """A binary value in hex (0x...) or base64 (0b...) (RFC 7143 6.1); ValueError for anything else."""
    if text[:2].lower() == "0b":
        return base64.b64decode(text[2:])
    if text[:2].lower() != "0x":
        raise ValueError(f"not a binary value: {text}")
    digits = text[2:]
    return bytes.fromhex(digits if len(digits) % 2 == 0 else "0" + digits)


def response(algorithm: str, identifier: int, secret: str, challenge: bytes) -> bytes:
    """What proves the secret: H(identifier, secret, challenge)."""
    return hashlib.new(ALGORITHMS[algorithm], bytes([identifier]) + secret.encode() + challenge).digest()


class Chap:
    """The initiator's side: answers the target's challenge, and challenges it when ``mutual`` is given.

    ``user`` and ``mutual`` are (name, secret). ``algorithms`` is the list to offer, as in CHAP_A.
    """

    def __init__(self, user: tuple[str, str], mutual: tuple[str, str] | None, algorithms: str) -> None:
        self.user = user
        self.mutual = mutual
        self.algorithms = algorithms
        self.algorithm = ""
        self.identifier = os.urandom(1)[0]
        self.challenge = os.urandom(24)

    def answer(self, keys: dict[str, str]) -> dict[str, str]:
        """The keys that answer CHAP_A, CHAP_I and CHAP_C; ProtocolError when these make no sense."""
        self.algorithm = keys.get("CHAP_A", "")
        if self.algorithm not in self.algorithms.split(",") or self.algorithm not in ALGORITHMS:
            raise ProtocolError(f"CHAP_A={self.algorithm} to an offer of {self.algorithms}")
        try:
            identifier, challenge = int(keys["CHAP_I"], 0), decode_binary(keys["CHAP_C"])
            proof = response(self.algorithm, identifier, self.user[1], challenge)
        except (KeyError, ValueError) as error:
            raise ProtocolError(f"no challenge of CHAP: {error}") from error
        out = {"CHAP_N": self.user[0], "CHAP_R": "0x" + proof.hex()}
        if self.mutual:
            out |= {"CHAP_I": str(self.identifier), "CHAP_C": "0x" + self.challenge.hex()}
        return out

    def target_is_known(self, keys: dict[str, str]) -> bool:
        """Did the target prove its secret? True without ``mutual``."""
        if self.mutual is None:
            return True
        name, secret = self.mutual
        proof = response(self.algorithm, self.identifier, secret, self.challenge)
        try:
            return keys.get("CHAP_N") == name and decode_binary(keys.get("CHAP_R", "0x")) == proof
        except ValueError:
            return False
