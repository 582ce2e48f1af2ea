"""The table of all sessions of a server, by TSIH (RFC 7143 4.4.1, 6.3.5, 11.12.6)."""

from __future__ import annotations

from collections.abc import Iterator

from iscsitools.iscsi.session.session import Session


class SessionTable:
    """All sessions of a server, by TSIH. At most ``limit`` at a time, and never more than TSIHs (RFC 7143 11.12.6)."""

    def __init__(self, limit: int = 256) -> None:
        self._limit = min(limit, 0xFFFF)
        self._by_tsih: dict[int, Session] = {}
        self._last = 0
        self.opened = 0

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._by_tsih.values()))

    def __len__(self) -> int:
        return len(self._by_tsih)

    def allocate(self, replaces: bool = False) -> int | None:
        """A TSIH that no session has, not the last one again; None when there are as many sessions as allowed.

        ``replaces``: one of those will make room.
        """
        if len(self._by_tsih) - replaces >= min(self._limit, 0xFFFF - replaces):
            return None
        tsih = self._last
        while True:
            tsih = tsih % 0xFFFF + 1
            if tsih not in self._by_tsih:
                self._last = tsih
                return tsih

    def add(self, session: Session) -> None:
        """Enter a session whose login is complete."""
        self._by_tsih[session.tsih] = session
        self.opened += 1

    def remove(self, session: Session) -> None:
        """Take a session out; its TSIH is free again."""
        if self._by_tsih.get(session.tsih) is session:
            del self._by_tsih[session.tsih]

    def by_tsih(self, tsih: int) -> Session | None:
        """The session with this TSIH."""
        return self._by_tsih.get(tsih)

    def by_ident(self, ident: int) -> Session | None:
        """The session with this number."""
        return next((s for s in self._by_tsih.values() if s.ident == ident), None)

    def find(self, initiator: str, isid: bytes, target: str) -> Session | None:
        """The session of the same initiator port and target, for reinstatement (RFC 7143 6.3.5)."""
        for session in self._by_tsih.values():
            if (
                session.initiator == initiator
                and session.isid == isid
                and session.target is not None
                and session.target.name == target
            ):
                return session
        return None
