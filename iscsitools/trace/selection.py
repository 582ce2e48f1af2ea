"""Which events a reader wants: probes, a client, a target, a LUN."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from iscsitools.probes.firing import (
    DATA_RECEIVE,
    DATA_REQUEST,
    DATA_SEND,
    SCSI_COMMAND,
    SCSI_RESPONSE,
    SNACK_RECEIVE,
    TASK_COMMAND,
    XFER_DONE,
    XFER_START,
)
from iscsitools.probes.table import ALL_MASK, BY_LABEL

LUN_MASK: Final = (
    SCSI_COMMAND
    | SCSI_RESPONSE
    | DATA_SEND
    | DATA_RECEIVE
    | DATA_REQUEST
    | TASK_COMMAND
    | XFER_START
    | XFER_DONE
    | SNACK_RECEIVE
)
"""The probes whose ii_lun names a unit; the others say 0 and belong to no LUN."""


class Named(Protocol):
    """What a connection is matched by."""

    @property
    def remote(self) -> str:
        """``address:port``."""

    @property
    def target(self) -> str:
        """The target's IQN."""

    @property
    def initiator(self) -> str:
        """The initiator's IQN."""


def address_of(endpoint: str) -> str:
    """Cut the port and the brackets off ``address:port``."""
    return endpoint.rpartition(":")[0].removeprefix("[").removesuffix("]")


@dataclass(frozen=True, slots=True)
class Selection:
    """A filter. ``client`` is an address, an ``address:port`` or an initiator's name; None selects everything.

    With ``lun``, events that belong to no LUN (login, text, NOP and so on) are left out.
    """

    mask: int = ALL_MASK
    client: str | None = None
    target: str | None = None
    lun: int | None = None

    @property
    def effective_mask(self) -> int:
        """The probes that can pass."""
        return self.mask if self.lun is None else self.mask & LUN_MASK

    def admits(self, conn: Named) -> bool:
        """Whether events of this connection pass."""
        if self.target is not None and self.target != conn.target:
            return False
        if self.client is None or self.client in (conn.remote, conn.initiator):
            return True
        return self.client.removeprefix("[").removesuffix("]") == address_of(conn.remote)

    def to_json(self) -> dict[str, Any]:
        """As the ``attach`` and ``aggregate`` requests carry it."""
        labels = [label for label, probe in BY_LABEL.items() if self.mask >> probe & 1]
        return {"probes": labels, "client": self.client, "target": self.target, "lun": self.lun}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Selection:
        """Check and read a request's fields. Raises ValueError with the reason."""
        labels = fields.get("probes")
        if labels is not None and (not isinstance(labels, list) or not all(isinstance(p, str) for p in labels)):
            raise ValueError("probes is not a list of names")
        for key in ("client", "target"):
            if not isinstance(fields.get(key), str | None):
                raise ValueError(f"{key} is not a text")
        lun = fields.get("lun")
        if lun is not None and (not isinstance(lun, int) or isinstance(lun, bool)):
            raise ValueError("lun is not a number")
        if lun is not None and not 0 <= lun < 1 << 64:
            raise ValueError("lun is no LUN: it has 64 bits")
        return cls(mask_of(labels), fields.get("client"), fields.get("target"), lun)


def mask_of(labels: Iterable[str] | None) -> int:
    """Turn names of probes into a mask; None is all. Raises ValueError for a name that is not one, or for none."""
    if labels is None:
        return ALL_MASK
    mask = 0
    for label in labels:
        if label not in BY_LABEL:
            raise ValueError(f"no probe is named {label!r}")
        mask |= 1 << BY_LABEL[label]
    if not mask:
        raise ValueError("no probe is named")
    return mask
