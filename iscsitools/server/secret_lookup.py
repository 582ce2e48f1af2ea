"""CHAP secrets that have to be asked for, off the loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from iscsitools.iscsi.login.messages import LoginPending
from iscsitools.iscsi.login.policy import SecretLookup
from iscsitools.server.loop import Loop
from iscsitools.server.workers import Workers

if TYPE_CHECKING:
    from iscsitools.authenticators import Authenticator

log = logging.getLogger(__name__)

_THREADS: Final = 4
_WAITING: Final = 256
"""Questions that one source may leave unanswered; beyond it, logins are refused and not queued."""


class SecretLookups:
    """Asks authenticators. Each has threads of its own: one that hangs stops only the logins that need it."""

    def __init__(self, loop: Loop, authenticators: Mapping[str, Authenticator]) -> None:
        self._loop = loop
        self._authenticators = authenticators
        self._workers: dict[SecretLookup, Workers] = {}

    def ask(self, pending: LoginPending, answered: Callable[[bytes | None], None]) -> None:
        """Call ``answered`` later, on the loop's thread, with the secret, or with None: then the login fails."""
        workers = self._workers.get(pending.secret_for)
        if workers is None:
            workers = self._workers[pending.secret_for] = Workers(self._loop, _THREADS, "login")
        if workers.running >= _WAITING:
            log.error("%s does not answer; login refused", self._name(pending), extra={"initiator": pending.initiator})
            self._loop.call_soon(lambda: answered(None))
            return
        found: list[bytes | None] = [None]

        def work() -> None:
            found[0] = pending.look_up()

        def done(error: BaseException | None) -> None:
            if error is not None:
                log.error(
                    "%s: looking up a CHAP secret failed: %s: %s", self._name(pending), type(error).__name__, error,
                    extra={"initiator": pending.initiator},
                )  # fmt: skip
            answered(found[0])

        workers.submit(work, done)

    def _name(self, pending: LoginPending) -> str:
        names = [name for name, source in self._authenticators.items() if source.secret_for == pending.secret_for]
        return f"authenticator {names[0]}" if names else "an authenticator"

    def close(self) -> None:
        """Let the threads end, those that can."""
        for workers in self._workers.values():
            workers.close()
