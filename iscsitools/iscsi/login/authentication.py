"""The security stage's method: AuthMethod, None or CHAP (RFC 7143 12.1)."""

from __future__ import annotations

from collections.abc import Callable

from iscsitools.iscsi import text_pairs as text
from iscsitools.iscsi.errors import TextError
from iscsitools.iscsi.login.chap import ChapExchange, failure
from iscsitools.iscsi.login.policy import AuthPolicy


class Authentication:
    """What one login has shown of who it is, under one policy. ``begin_exchange(policy)`` makes its CHAP exchange."""

    __slots__ = ("_begin_exchange", "_chosen", "_exchange", "_policy")

    def __init__(self, policy: AuthPolicy, begin_exchange: Callable[[AuthPolicy], ChapExchange]) -> None:
        self._policy = policy
        self._begin_exchange = begin_exchange
        self._chosen = ""
        self._exchange: ChapExchange | None = None

    @property
    def complete(self) -> bool:
        """Enough has been shown to leave the security stage."""
        if self._exchange is not None:
            return self._exchange.done
        return not self._policy.required

    @property
    def begun(self) -> bool:
        """A method was chosen."""
        return bool(self._chosen)

    @property
    def user(self) -> str:
        """The CHAP name that the initiator gave, or "" without CHAP."""
        return self._exchange.user if self._exchange is not None else ""

    def receive(self, keys: dict[str, str]) -> list[tuple[str, str]] | None:
        """Answer the authentication keys of one request; None: :meth:`verify` has to be called with a secret.

        Raises LoginError (AUTHENTICATION_FAILURE).
        """
        if not keys:
            return []
        if "AuthMethod" in keys:
            return self._choose(keys)
        if self._exchange is None:
            raise failure("CHAP keys before AuthMethod=CHAP")
        return self._exchange.receive(keys)

    def verify(self, secret: bytes | None) -> list[tuple[str, str]]:
        """See :meth:`ChapExchange.verify`."""
        assert self._exchange is not None
        return self._exchange.verify(secret)

    def end(self) -> None:
        """The login is over, one way or the other."""
        if self._exchange is not None:
            self._exchange.end()

    def _choose(self, keys: dict[str, str]) -> list[tuple[str, str]]:
        if self._chosen or len(keys) > 1:
            raise failure("AuthMethod a second time, or with the keys of a method")
        ours = "CHAP" if self._policy.required else "None"
        try:
            offered = text.parse_list(keys["AuthMethod"])
        except TextError as error:
            raise failure(str(error)) from error
        if ours not in offered:
            raise failure(f"AuthMethod={keys['AuthMethod'][:80]}, and {ours} is wanted")
        self._chosen = ours
        if self._policy.required:
            self._exchange = self._begin_exchange(self._policy)
        return [("AuthMethod", ours)]
