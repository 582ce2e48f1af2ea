"""CHAP, the target's side (RFC 7143 12.1.3, RFC 1994): one exchange of one login.

The exchange, each line one Login Request and its answer:

    AuthMethod=CHAP                              -> AuthMethod=CHAP            (``auth.py``)
    CHAP_A=5,7                                   -> CHAP_A=5 CHAP_I=.. CHAP_C=..
    CHAP_N=user CHAP_R=.. [CHAP_I=.. CHAP_C=..]  -> [CHAP_N=.. CHAP_R=..]

Refused, all with the same status: a wrong response, an unknown user, a challenge of ours sent back, on whatever
connection it was made, and a secret with which this server itself answers (RFC 7143 9.2.1 forbids both). An unknown
user costs the same hash as a known one.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Final

from iscsitools.iscsi import text_pairs as text
from iscsitools.iscsi.errors import LoginError, TextError
from iscsitools.iscsi.login.policy import AuthPolicy, ChapAlgorithm
from iscsitools.wire.rfc7143 import LoginStatus

_HASHES: Final = {
    ChapAlgorithm.MD5: "md5",
    ChapAlgorithm.SHA1: "sha1",
    ChapAlgorithm.SHA256: "sha256",
    ChapAlgorithm.SHA3_256: "sha3_256",
}
CHALLENGE_LENGTH: Final = 32
"""Bytes of our challenge: the longest hash, so that no algorithm gets less than its own strength."""
MAX_CHALLENGE: Final = 1024
"""Bytes of the initiator's challenge that RFC 7143 12.1.3 allows."""


def failure(message: str) -> LoginError:
    """The one answer to all that goes wrong here."""
    return LoginError(LoginStatus.AUTHENTICATION_FAILURE, message)


def response(algorithm: ChapAlgorithm, identifier: int, secret: bytes, challenge: bytes) -> bytes:
    """The hash of identifier, secret and challenge (RFC 1994 4.1)."""
    # usedforsecurity: a system that bars MD5 elsewhere still has to speak the protocol's mandatory algorithm.
    digest = hashlib.new(_HASHES[algorithm], bytes((identifier,)), usedforsecurity=False)
    digest.update(secret)
    digest.update(challenge)
    return digest.digest()


class Challenges:
    """The challenges that this server waits for the answers of, over all of its connections.

    Whoever sends one of them back wants us to answer it for him (RFC 7143 9.2.1). Each login has one at the most.
    """

    def __init__(self) -> None:
        self._ours: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._ours)

    def add(self, challenge: bytes) -> None:
        """A challenge goes out."""
        self._ours.add(challenge)

    def remove(self, challenge: bytes) -> None:
        """Its answer has come, or will not come any more."""
        self._ours.discard(challenge)

    def __contains__(self, challenge: bytes) -> bool:
        return challenge in self._ours


class ChapExchange:
    """From CHAP_A to the verdict; call :meth:`end` behind it, whatever it was.

    ``challenges``: those of the whole server. ``is_mutual_secret(secret)``: whether some target, or discovery, answers
    initiators with this secret. Every method raises LoginError (AUTHENTICATION_FAILURE) when the login must fail.
    """

    __slots__ = (
        "_algorithm", "_challenge", "_challenges", "_identifier", "_is_mutual_secret", "_mutual", "_policy", "_random",
        "_response", "done", "user",
    )  # fmt: skip

    def __init__(
        self, policy: AuthPolicy, random_bytes: Callable[[int], bytes], challenges: Challenges,
        is_mutual_secret: Callable[[bytes], bool],
    ) -> None:  # fmt: skip
        self._challenges = challenges
        self._is_mutual_secret = is_mutual_secret
        self.user = ""
        """CHAP_N as the initiator gave it; proven only when ``done``."""
        self.done = False
        self._policy = policy
        self._random = random_bytes
        self._algorithm: ChapAlgorithm | None = None
        self._identifier = 0
        self._challenge = b""
        self._response = b""
        self._mutual: tuple[int, bytes] | None = None

    def receive(self, keys: dict[str, str]) -> list[tuple[str, str]] | None:
        """Take the next step's CHAP keys; None: the secret of ``user`` is wanted by :meth:`verify`."""
        if self._algorithm is None:
            return self._challenge_for(keys)
        if self._response or "CHAP_A" in keys:
            raise failure("CHAP keys out of their order")
        self._take_response(keys)
        return None

    def _challenge_for(self, keys: dict[str, str]) -> list[tuple[str, str]]:
        if set(keys) != {"CHAP_A"}:
            raise failure("CHAP begins with CHAP_A alone")
        try:
            offered = text.parse_list(keys["CHAP_A"])
        except TextError as error:
            raise failure(str(error)) from error
        # The target takes any one of the list (RFC 7143 12.1.3), so our order decides: the configured one, best first.
        self._algorithm = next((ours for ours in self._policy.algorithms if f"{ours:d}" in offered), None)
        if self._algorithm is None:
            raise failure(f"no CHAP algorithm of {keys['CHAP_A'][:80]} is allowed")
        self._identifier = self._random(1)[0]
        self._challenge = self._random(CHALLENGE_LENGTH)
        self._challenges.add(self._challenge)
        return [
            ("CHAP_A", f"{self._algorithm:d}"),
            ("CHAP_I", str(self._identifier)),
            ("CHAP_C", text.encode_binary(self._challenge)),
        ]

    def _take_response(self, keys: dict[str, str]) -> None:
        if "CHAP_N" not in keys or "CHAP_R" not in keys:
            raise failure("CHAP_N or CHAP_R is missing")
        if ("CHAP_I" in keys) != ("CHAP_C" in keys):
            raise failure("of CHAP_I and CHAP_C, one is missing")
        self.user = keys["CHAP_N"]
        try:
            self._response = text.decode_binary(keys["CHAP_R"])
            if "CHAP_C" in keys:
                self._mutual = _identifier(keys["CHAP_I"]), text.decode_binary(keys["CHAP_C"])
        except TextError as error:
            raise failure(str(error)) from error
        if self._mutual is None:
            return
        if not 1 <= len(self._mutual[1]) <= MAX_CHALLENGE:
            raise failure(f"a challenge of {len(self._mutual[1])} bytes")
        if self._mutual[1] in self._challenges:
            raise failure("a challenge of our own came back")

    def verify(self, secret: bytes | None) -> list[tuple[str, str]]:
        """Judge the response by the user's secret (None: unknown user), and prove ourselves if we were asked to."""
        assert self._algorithm is not None
        expected = response(self._algorithm, self._identifier, secret or self._random(16), self._challenge)
        if not hmac.compare_digest(expected, self._response) or not secret:
            raise failure("CHAP: wrong response or unknown user")
        if self._is_mutual_secret(secret):
            # Whoever can make this server answer a challenge could be this user.
            raise failure("the user's secret is one with which this server answers initiators")
        answers = [] if self._mutual is None else self._prove(self._algorithm, *self._mutual)
        self.done = True
        return answers

    def end(self) -> None:
        """The exchange is over: its challenge counts no more."""
        self._challenges.remove(self._challenge)

    def _prove(self, algorithm: ChapAlgorithm, identifier: int, challenge: bytes) -> list[tuple[str, str]]:
        policy = self._policy
        if not policy.mutual_secret:
            raise failure("the initiator wants a proof of this target, which has no secret of its own")
        proof = response(algorithm, identifier, policy.mutual_secret, challenge)
        return [("CHAP_N", policy.mutual_name), ("CHAP_R", text.encode_binary(proof))]


def _identifier(value: str) -> int:
    number = text.parse_number(value)
    if number > 255:
        raise TextError(f"CHAP_I={value} is more than one byte")
    return number
