"""What a disk of kind ``rbd`` can be told, and what is not allowed together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from iscsitools.backstores import values
from iscsitools.backstores.base import BackstoreError, Option

from iscsitools_rbd.ceph import Account
from iscsitools_rbd.names import ImageName

OPTIONS: Final = (
    Option("conf", values.path, "", "Ceph's configuration file instead of the usual one"),
    Option("user", values.text, "admin", "the Ceph user, without client."),
    Option("wait", values.duration, 20.0, "how long a command waits for Ceph before it gets BUSY"),
    Option("connect_wait", values.duration, 10.0, "how long to wait for a monitor at the start"),
    Option("head", values.integer, 0, "the number of this head, and of its portal group, where several export it"),
    Option("takeover", values.duration, 5.0, "how long an active head may be silent before another takes over"),
    Option("client_cache", values.yes_no, False, "librbd's write-back cache, which a flush empties"),
)
_SHORTEST_TAKEOVER: Final = 2.0
"""Seconds: a head says that it lives once a second."""


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """One disk's options, checked. ``wait`` and ``takeover`` are seconds; ``number``: of the head, 0: it is none."""

    name: ImageName
    account: Account
    settings: dict[str, str]
    """librbd's."""
    wait: float
    number: int
    takeover: float

    @classmethod
    def of(cls, what: str, given: Mapping[str, Any], head_of_server: int) -> ImageOptions:
        """Those that were ``given``, and the defaults of the others. Raises BackstoreError.

        ``head_of_server``: the number of all images that are given none.
        """
        chosen = {option.name: given.get(option.name, option.default) for option in OPTIONS}
        try:
            name = ImageName.parse(what)
        except ValueError as error:
            raise BackstoreError(f"rbd: {error}") from None
        if chosen["wait"] <= 0 or chosen["connect_wait"] <= 0:
            raise BackstoreError("rbd: wait and connect_wait have to be more than 0")
        number = int(chosen["head"]) or (0 if name.snapshot else head_of_server)
        takeover = float(chosen["takeover"])
        if number < 0 or takeover < _SHORTEST_TAKEOVER or (number and name.snapshot):
            raise BackstoreError("rbd: head is a number from 1 on, not of a snapshot, and takeover at least 2s")
        if number and chosen["client_cache"]:
            raise BackstoreError("rbd: a head has no client_cache: another head could not know what is in it")
        account = Account(chosen["conf"], chosen["user"], chosen["connect_wait"])
        settings = {
            "rbd_cache": "true" if chosen["client_cache"] else "false",
            "rbd_skip_partial_discard": "false",  # UNMAP of any blocks makes them zeros
        }
        return cls(name, account, settings, float(chosen["wait"]), number, takeover)
