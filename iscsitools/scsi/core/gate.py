"""What a transport's data path has to know of one logical unit to serve a plain READ or WRITE by itself."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from iscsitools.backstores.base import Backstore

# Words of a unit, that all of its gates share.
TASKS: Final = 0
"""Tasks in its task set."""
DEPTH: Final = 1
"""The most that are accepted without a look at whose they are."""
TRANSFERS: Final = 2
"""WRITEs that wait for data in data paths, and are no tasks yet; see ``Nexus.gather``."""
READS: Final = 3
"""READs of all lengths; the next word counts their bytes."""
READ_BYTES: Final = 4
WRITES: Final = 5
"""The same of WRITEs."""
WRITTEN_BYTES: Final = 6
FLIGHTS: Final = 7
"""READs and WRITEs that data paths have in the disk, and that are no tasks yet; they count as TRANSFERS too."""


def unit_words(depth: int) -> array[int]:
    """The words of a unit without a task."""
    return array("q", [0, depth, 0, 0, 0, 0, 0, 0])


@dataclass(slots=True, eq=False)
class Gate:
    """Plain words about one I_T_L nexus, kept up to date by the SCSI side and read by the data path for each command.

    While ``read_open`` (``write_open``) is set, nothing of the unit's state can change the answer to a READ (WRITE) of
    the common forms to a range inside the unit, so that it may go to ``store.try_read_into`` (``try_write``) without a
    task. One test stands for all of those: no unit attention, no reservation of another, a medium, no write protection,
    a write cache that is on, no ordered or exclusive task about. An ORDERED command also needs ``busy`` to be False.

    ``number``: the unit number. ``blocks``: how many of ``block_size`` bytes the unit has now. ``words``: the unit's.
    """

    number: int
    store: Backstore
    block_size: int
    blocks: int
    words: array[int] = field(default_factory=lambda: unit_words(1))
    read_open: bool = False
    write_open: bool = False
    transfers: int = 0
    """How many of the unit's transfers are of this nexus."""
    lent: int = 0
    """How many data paths that lead through it are with data threads; here there are none."""

    @property
    def busy(self) -> bool:
        """Whether the unit has tasks, or commands that will be: an ORDERED one waits for them."""
        return bool(self.words[TASKS] or self.words[TRANSFERS])

    def add_up(self) -> None:
        """Add what a data thread has counted to the unit's words; here there is none."""

    def close(self) -> None:
        """Let no command through: what the gate leads to is gone for this nexus."""
        self.read_open = self.write_open = False


def _find() -> tuple[Callable[[int, Backstore, int, int, array[int]], Gate], Callable[[], None]]:
    try:
        from iscsitools.datapath import _native
    except ImportError:
        return Gate, lambda: None
    return _native.Gate, _native.settle


make_gate, settle = _find()
"""Make a gate of a unit number, a backstore, a block size, a number of blocks and the unit's words.

Where there is a data path in C, the words lie where that reads them; the one in Python takes either kind. To close such
a gate, or to lower its blocks, waits until no data thread is at a command that it let through. ``settle()`` only waits.
"""
