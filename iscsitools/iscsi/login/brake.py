"""A brake on guessing CHAP secrets: by the address that guesses, and by the CHAP name whose secret is guessed.

Each of them may be wrong ``per_minute`` times at once, and as often again in each minute that follows. Beyond that its
logins are refused, before a secret is looked at, so that guesses in parallel gain nothing. An address from which a name
has been proved is not braked for what others do under that name: nobody can lock its owner out from elsewhere.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import Final

_MINUTE: Final = 60_000_000_000
_MOST: Final = 4096
"""Addresses, names and proofs that are remembered; beyond it the ones that were not used for longest are forgotten."""


class Brake:
    """Counts wrong secrets. ``per_minute`` 0: it never brakes. Times are nanoseconds of one monotonic clock."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._wrong: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()
        """How many wrong secrets weigh on ("address", its network) and ("name", CHAP name), and when that was so."""
        self._proved: OrderedDict[tuple[str, str], None] = OrderedDict()

    def holds(self, address: str, user: str, now: int) -> bool:
        """Whether a login from ``address`` under the CHAP name ``user`` has to be refused unseen."""
        if not self.per_minute:
            return False
        network = network_of(address)
        if self._weight(("address", network), now) > self.per_minute - 1:
            return True
        return (network, user) not in self._proved and self._weight(("name", user), now) > self.per_minute - 1

    def wrong(self, address: str, user: str, now: int) -> None:
        """A secret was wrong, or the CHAP name unknown."""
        for key in (("address", network_of(address)), ("name", user)):
            self._wrong[key] = self._weight(key, now) + 1, now
            self._wrong.move_to_end(key)
            if len(self._wrong) > _MOST:
                self._wrong.popitem(last=False)

    def right(self, address: str, user: str) -> None:
        """A secret was right."""
        key = network_of(address), user
        self._proved[key] = None
        self._proved.move_to_end(key)
        if len(self._proved) > _MOST:
            self._proved.popitem(last=False)

    def _weight(self, key: tuple[str, str], now: int) -> float:
        weight, when = self._wrong.get(key, (0.0, now))
        return max(0.0, weight - (now - when) * self.per_minute / _MINUTE)


def network_of(remote: str) -> str:
    """The address of ``ADDRESS:PORT`` or ``[ADDRESS]:PORT``; of IPv6 its /64, all of which one host may have."""
    host = remote.rpartition(":")[0]
    if ":" not in host:
        return host
    host = host.strip("[]").partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else host
