"""The table of all sessions of a server, by TSIH (RFC 7143 4.4.1, 6.3.5, 11.12.6)."""

from __future__ import annotations

from collections.abc import Iterator

from iscsitools.iscsi.session.session import Session


class SessionTable:
    """All sessions of a server, by TSIH.

    At most ``limit`` at a time, never more than TSIHs (RFC 7143 11.12.6), and ``per_initiator`` of one initiator name
    (0: no bound of its own). The last ``kept_free`` of them are for initiators that have no session yet, so that one
    with many keeps nobody out.
    """

    def __init__(self, limit: int = 256, per_initiator: int = 0, kept_free: int = 0) -> None:
        self.change(limit, per_initiator, kept_free)
        self._by_tsih: dict[int, Session] = {}
        self._by_port: dict[tuple[str, bytes, str, int], Session] = {}
        """Those with targets, by initiator name, ISID, target name and portal group."""
        self._counts: dict[str, int] = {}
        """Sessions by initiator name. Not a Counter, whose methods in Python take a login as long as half a PDU."""
        self.last = 0
        """The TSIH that was given last."""
        self.opened = 0

    def change(self, limit: int, per_initiator: int, kept_free: int) -> None:
        """Take other bounds; sessions beyond them go on."""
        self.limit = min(limit, 0xFFFF)
        self._per_initiator = per_initiator or self.limit
        self._kept_free = kept_free

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._by_tsih.values()))

    def __len__(self) -> int:
        return len(self._by_tsih)

    @property
    def one_full(self) -> bool:
        """There is an initiator that has as many sessions as one may have, which are fewer than all may have."""
        bound = self._per_initiator
        return bound < self.limit and any(count >= bound for count in self._counts.values())

    def allocate(self, initiator: str, replaces: bool = False) -> int | None:
        """A TSIH that no session has, not the last one again; None when ``initiator`` may have no more sessions.

        ``replaces``: one of its own will make room.
        """
        if len(self._by_tsih) >= 0xFFFF:
            return None
        if not replaces and not self._has_room(initiator):
            return None
        tsih = self.last
        while True:
            tsih = tsih % 0xFFFF + 1
            if tsih not in self._by_tsih:
                self.last = tsih
                return tsih

    def _has_room(self, initiator: str) -> bool:
        own = self._counts.get(initiator, 0)
        limit = self.limit - (self._kept_free if own else 0)
        return len(self._by_tsih) < limit and own < self._per_initiator

    def add(self, session: Session) -> None:
        """Enter a session whose login is complete."""
        self._by_tsih[session.tsih] = session
        self._counts[session.initiator] = self._counts.get(session.initiator, 0) + 1
        if session.target is not None:
            self._by_port[_port(session)] = session
        self.opened += 1

    def remove(self, session: Session) -> None:
        """Take a session out; its TSIH is free again."""
        if self._by_tsih.get(session.tsih) is not session:
            return
        del self._by_tsih[session.tsih]
        self._counts[session.initiator] -= 1
        if not self._counts[session.initiator]:
            del self._counts[session.initiator]
        if session.target is not None:
            self._by_port.pop(_port(session), None)

    def by_tsih(self, tsih: int) -> Session | None:
        """The session with this TSIH."""
        return self._by_tsih.get(tsih)

    def by_ident(self, ident: int) -> Session | None:
        """The session with this number."""
        return next((s for s in self._by_tsih.values() if s.ident == ident), None)

    def find(self, initiator: str, isid: bytes, target: str, group: int) -> Session | None:
        """The session of the same initiator port and target port, for reinstatement (RFC 7143 6.3.5)."""
        return self._by_port.get((initiator, isid, target, group))


def _port(session: Session) -> tuple[str, bytes, str, int]:
    assert session.target is not None
    group = session.nexus.target_port if session.nexus is not None else 1
    return session.initiator, session.isid, session.target.name, group
