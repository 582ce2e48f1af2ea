"""What a copy operation is made of, whatever command has asked for it."""

from __future__ import annotations

from dataclasses import dataclass

from iscsitools.scsi.core.unit import LogicalUnit


@dataclass(frozen=True, slots=True)
class Segment:
    """Bytes to copy. ``source`` None: zeros are written. Offsets and length fit the block sizes of both units."""

    source: LogicalUnit | None
    source_offset: int
    destination: LogicalUnit
    offset: int
    length: int
    number: int = 0
    """Of the segment descriptor, for sense data."""

    @property
    def may_be_cloned(self) -> bool:
        """Whether it is worth asking: a copy that may take long is nothing for the loop."""
        source = self.source
        return source is None or (source.store.blocking and self.destination.store.blocking)

    def piece(self, at: int, length: int) -> Segment:
        """A part of it."""
        return Segment(self.source, self.source_offset + at, self.destination, self.offset + at, length, self.number)
