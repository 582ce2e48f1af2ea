"""How many connections there are, by the address that they come from, and who may have one more.

Beyond a bound a connection is not closed at once: it is read as far as its first Login Request, which is answered with
OUT_OF_RESOURCES (RFC 7143 11.13.5), so that an initiator knows that it may try again later.
"""

from __future__ import annotations

from typing import Final

from iscsitools.iscsi.login.brake import network_of

MOST_REFUSED: Final = 32
"""Connections beyond a bound that wait for their refusal; those beyond that are closed unanswered."""


def kept_free(bound: int, wished: int) -> int:
    """How many of ``bound`` stay free for newcomers: as many as wished, but an eighth at the most."""
    return min(wished, bound // 8)


class Callers:
    """Counts the connections of a server. ``most_of_one`` 0: no bound of its own for one address.

    The last ones (``free``) are for addresses that have no connection yet.
    """

    def __init__(self, most: int, most_of_one: int, free: int) -> None:
        self.change(most, most_of_one, free)
        self._by_address: dict[str, int] = {}
        self._served = 0
        self.refused = 0
        """Connections that wait for their refusal."""

    def change(self, most: int, most_of_one: int, free: int) -> None:
        """Take other bounds; connections beyond them go on."""
        self._most = most
        self._most_of_one = most_of_one or most
        self._free = kept_free(most, free)

    @property
    def full(self) -> bool:
        """There are as many connections as allowed."""
        return self._served >= self._most

    @property
    def one_full(self) -> bool:
        """There is an address that has as many connections as one may have, which are fewer than all may have."""
        bound = self._most_of_one
        return bound < self._most and any(count >= bound for count in self._by_address.values())

    def refusal(self, remote: str) -> str:
        """Why ``ADDRESS:PORT`` may have no further connection; "" when it may."""
        own = self._by_address.get(network_of(remote), 0)
        if self._served >= self._most - (self._free if own else 0):
            return "as many connections as allowed"
        if own >= self._most_of_one:
            return "as many connections as one address may have"
        return ""

    def add(self, remote: str, refused: bool) -> None:
        """A connection has come."""
        if refused:
            self.refused += 1
        else:
            self._served += 1
            network = network_of(remote)
            self._by_address[network] = self._by_address.get(network, 0) + 1

    def remove(self, remote: str, refused: bool) -> None:
        """A connection has gone."""
        if refused:
            self.refused -= 1
            return
        self._served -= 1
        network = network_of(remote)
        self._by_address[network] -= 1
        if not self._by_address[network]:
            del self._by_address[network]
