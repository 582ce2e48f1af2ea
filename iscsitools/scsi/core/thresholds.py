"""What a thin unit's blocks take of its medium, and thresholds of that (SBC-3 4.7.3.7)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from iscsitools.backstores.base import Space

_SET: Final = 1 << 20
"""Bytes of a threshold set, which is what resources are counted in."""
_MOST: Final = 0xFFFFFFFF


class Resource(IntEnum):
    """THRESHOLD RESOURCE (SBC-3 table 211); parameter codes of the log page are the same."""

    AVAILABLE = 1
    USED = 2


class Threshold(NamedTuple):
    """A soft threshold that is enabled: ``sets`` threshold sets of a resource."""

    resource: Resource
    sets: int

    def reached(self, counts: Counts) -> bool:
        """Whether so little is available, or so much used."""
        return counts.available <= self.sets if self.resource is Resource.AVAILABLE else counts.used >= self.sets


class Counts(NamedTuple):
    """Threshold sets that the medium has left for a unit, and that the unit's blocks take."""

    available: int
    used: int

    @classmethod
    def of(cls, space: Space, size: int) -> Counts:
        """Of a unit of ``size`` bytes. More than its whole size is never needed, so no more counts as available."""
        available = min(space.free, max(0, size - space.used)) // _SET
        return cls(min(available, _MOST), min(-(-space.used // _SET), _MOST))


def threshold_exponent(block_size: int) -> int:
    """THRESHOLD EXPONENT (SBC-3 6.6.4): a threshold set is two to this power blocks."""
    return (_SET // block_size).bit_length() - 1
