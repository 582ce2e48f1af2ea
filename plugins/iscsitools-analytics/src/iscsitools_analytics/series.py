"""Whose numbers they are: the series that are told apart, and the bound on how many."""

from __future__ import annotations

from typing import Final, NamedTuple

from iscsitools.probes.lun import lun_text
from iscsitools.trace import CommandRow, ConnectionStrings
from iscsitools.trace.selection import address_of
from iscsitools.wire.operations import command_name

LOGIN: Final = "login"
"""Stands for the command of a series that counts logins."""
OTHER: Final = "other"
"""The client and initiator of whoever came when there was no place for more."""
MOST: Final = 500
"""Series at a time; initiators choose their names, so that something has to be the end of it."""
_AWAY: Final = 3600
"""Seconds after which a silent series makes room."""


class Series(NamedTuple):
    """What counts are kept apart by; all are texts, ``lun`` is ``TARGET/NUMBER``."""

    server: str
    client: str
    """The initiator's address."""
    initiator: str
    """Its name."""
    target: str
    lun: str
    command: str

    @property
    def operation(self) -> str:
        """``read`` and ``write`` are the commands that move a disk's data, ``other`` the rest; or ``login``."""
        if self.command == LOGIN:
            return LOGIN
        if self.command.startswith("READ("):
            return "read"
        return "write" if self.command.startswith(("WRITE(", "WRITE AND VERIFY(")) else "other"


def series_of(server: str, row: CommandRow) -> Series:
    """The series of a row of the sums."""
    conn = row.conn
    name = "(began before)" if row.opcode is None else command_name(row.opcode, row.service_action)
    return Series(server, *_who(conn), f"{conn.target}/{lun_text(row.lun)}", name)


def logins_of(server: str, conn: ConnectionStrings) -> Series:
    """The series of an initiator's logins."""
    return Series(server, *_who(conn), "", LOGIN)


def _who(conn: ConnectionStrings) -> tuple[str, str, str]:
    return address_of(conn.remote), conn.initiator, conn.target


class Roster:
    """Which series have a place of their own. Those beyond :data:`MOST` are counted together."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._seen: dict[Series, int] = {}

    def place(self, series: Series, now: int) -> Series:
        """The series that is to be counted; ``now`` in seconds."""
        if series not in self._seen and len(self._seen) >= self._most:
            self._seen = {one: at for one, at in self._seen.items() if at > now - _AWAY}
            if len(self._seen) >= self._most:
                # Targets, units and commands are the server's own, and few; names are not.
                lun = series.lun if series.target else ""
                return series._replace(client=OTHER, initiator=OTHER, lun=lun)
        self._seen[series] = now
        return series
