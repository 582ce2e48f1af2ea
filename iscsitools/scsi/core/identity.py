"""A unit's serial number and NAA designator: the same at every start, on every portal and every machine."""

from __future__ import annotations

import hashlib
from typing import NamedTuple


class Identity(NamedTuple):
    """``serial``: the unit serial number (SPC-4 7.8.18). ``naa``: the 8 bytes of the NAA designator."""

    serial: str
    naa: bytes


def derive_identity(target: str, lun: int, store_identity: str, serial: str = "", own: str = "") -> Identity:
    """Derive both from a given ``serial``, else from the identity that the disk has of its ``own``.

       Neither of these counts the target's name and the number, so that the same disk stays the same to an initiator
    wherever it is served. Without them it is made of the target's name, the unit's number and the backstore's
    identity.

    NAA type 3h (locally assigned, SPC-4 7.8.6.6.4) is the type for one who has no IEEE company identifier; types 2h,
    5h and 6h would borrow somebody else's. Its 60 bits are a hash: two disks of the same designator are not to be
    expected below a hundred million disks.
    """
    if serial:
        text = f"serial\0{serial}"
    else:
        text = f"medium\0{own}" if own else f"disk\0{target}\0{lun}\0{store_identity}"
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
    naa = bytes([0x30 | digest[0] & 0x0F]) + digest[1:8]
    return Identity(serial or digest[8:18].hex(), naa)
