"""Where CHAP secrets may come from other than the configuration: a plugin's directory, database or vault."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class Authenticator(Protocol):
    """Knows the CHAP secrets of initiators (RFC 7143 12.1.3). Registered by the hook ``register_authenticators``.

    ``name`` is what a configuration's ``authenticator = "..."`` says: a-z, 0-9, ``_`` and ``-``.
    """

    name: str

    def secret_for(self, initiator: str, user: str) -> bytes | None:
        """The secret of CHAP name ``user`` when ``initiator`` (its iSCSI name) logs in; None: it may not.

        Called in a worker thread, for several logins at once, and may block as long as the login time-out. An exception
        refuses this login and is logged; its text goes to no initiator.
        """
