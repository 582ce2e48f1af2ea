"""An image is taken from whoever else has it: others are shut out of Ceph, and this client gets the lock.

Steps 1 to 3 of a takeover, which ``head.py`` says.
"""

from __future__ import annotations

import json
import logging
from typing import Any, Final

from iscsitools_rbd.ceph import modules, reason
from iscsitools_rbd.native_image import ServedImage

log = logging.getLogger(__name__)
_FOR_EVER: Final = 365 * 86400.0
"""Seconds for which an old client is shut out: longer than any stopped machine sleeps."""


def take_alone(image: ServedImage, before: str, control: Any, number: int) -> None:
    """Have the image alone, for head ``number``. ``before``: the address of the head that had it, or nothing.

    Raises OSError and librbd's errors.
    """
    owners = image.owners()
    _fence(control, {before, *owners} - {"", image.address})
    image.wait_for_map()
    for owner in owners:
        _break(image, owner, number)
    image.acquire()


def _fence(control: Any, addresses: set[str]) -> None:
    for address in addresses:
        command = {"prefix": "osd blocklist", "blocklistop": "add", "addr": address, "expire": _FOR_EVER}
        code, _, status = control.mon_command(json.dumps(command), b"")
        if code:
            raise OSError(-code, f"{address} cannot be shut out: {status}")


def _break(image: ServedImage, owner: str, number: int) -> None:
    try:
        image.break_lock(owner)
    except (modules()[1].Error, OSError) as error:
        log.info("head %d: the lock of %s: %s", number, owner, reason(error))  # it is gone already
