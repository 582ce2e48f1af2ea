"""What a logical unit is made with, and the limits that follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from iscsitools import __version__

MAX_TRANSFER: Final = 8 << 20
"""Bytes that one command may move: the Block TransferLimits page's MAXIMUM TRANSFER LENGTH (SBC-3 6.6.3)."""
BLOCK_SIZES: Final = (512, 1024, 2048, 4096)
"""Bytes that a logical block may have."""


def revision(version: str) -> str:
    """A version as the PRODUCT REVISION LEVEL's four characters: as many of its parts as they hold."""
    whole, _, rest = version.partition(".")
    for part in rest.split("."):
        if len(whole) + 1 + len(part) > 4:
            break
        whole += f".{part}"
    return whole[:4]


@dataclass(frozen=True, slots=True)
class UnitOptions:
    """Options of a logical unit. ``readonly``, ``thin`` and ``write_cache`` also need the backstore's consent.

    ``block_size``: one of BLOCK_SIZES. ``physical_block_size``: bytes, 0: what the backstore says, or
    4096, the page cache's unit. ``write_cache``: writeback, so WCE is 1 when the backstore's cache is volatile; False:
    every write is durable before its status. ``serial`` and ``naa`` (8 bytes): derived when empty. ``target``: the
    target's name, for designators. ``queue_depth``: tasks before TASK SET FULL. ``keep_reservations``: as if APTPL
    had been asked for, where there is a place for it.
    """

    block_size: int = 512
    physical_block_size: int = 0
    readonly: bool = False
    thin: bool = False
    removable: bool = False
    write_cache: bool = True
    serial: str = ""
    naa: bytes = b""
    vendor: str = "ISCSITLS"
    product: str = "iscsitools disk"
    revision: str = revision(__version__)
    target: str = ""
    queue_depth: int = 128
    keep_reservations: bool = False


class TransferLimits(NamedTuple):
    """The Block TransferLimits page's lengths, in logical blocks (SBC-3 6.6.3)."""

    transfer: int
    compare_and_write: int
    prefetch: int
    write_same: int
    unmap: int
    unmap_descriptors: int

    @classmethod
    def of(cls, block_size: int) -> TransferLimits:
        """The limits for a block size.

        WRITE SAME: what the (10) form can say. UNMAP: any length, as it moves no data.
        """
        return cls(
            transfer=MAX_TRANSFER // block_size,
            compare_and_write=255,
            prefetch=0,
            write_same=0xFFFF,
            unmap=0xFFFFFFFF,
            unmap_descriptors=256,
        )
