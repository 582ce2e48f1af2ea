"""What the module in C has: the same attributes and methods as the two classes in Python."""

from typing import Any

from iscsitools.iscsi.connection.datapath import DataPath as DataPath
from iscsitools.scsi.core.gate import Gate as Gate

SOURCES: str
"""The digest of what it was built of (``iscsitools.sources``), or empty."""

def checksum(data: bytes | bytearray | memoryview, by_table: bool = False, /) -> int:
    """The CRC32C of ``data``; ``by_table``: without the processor's instruction."""

def settle() -> None:
    """Wait until no data thread is at what it began before this call."""

class Ring:
    """An io_uring. Raises OSError when the system has none, or forbids it; methods that begin a call raise it too.

    ``cookie`` is whatever the caller wants back with the result. ``direct``: the descriptor was opened O_DIRECT, so
    that a buffer that lies elsewhere than it wants is copied.
    """

    def __init__(self) -> None: ...
    @property
    def fd(self) -> int:
        """A descriptor that can be read when :meth:`reap` has something to do."""

    @property
    def under_way(self) -> int:
        """Calls that have not ended."""

    def read(self, fd: int, offset: int, buffer: memoryview, flags: int, direct: bool, cookie: object, /) -> None:
        """Fill ``buffer``, which is lent until the call has ended."""

    def write(self, fd: int, offset: int, buffer: memoryview, flags: int, direct: bool, cookie: object, /) -> None:
        """Write ``buffer``, which is lent until the call has ended."""

    def sync(self, fd: int, cookie: object, /) -> None:
        """fdatasync(2)."""

    def allocate(self, fd: int, mode: int, offset: int, length: int, cookie: object, /) -> None:
        """fallocate(2)."""

    def submit(self) -> bool:
        """Hand the kernel what was begun; whether something has ended at once, for :meth:`reap` to fetch."""

    def reap(self) -> list[tuple[Any, int]]:
        """What has ended: cookies, and bytes moved (0 for what moves none) or negative error numbers."""

    def cancel(self, cookie: object, /) -> None:
        """Have a call end soon, if it can be ended."""

    def forget(self, fd: int, /) -> None:
        """``fd`` is going to be closed: nothing of it is kept."""

    def close(self) -> None:
        """Give the ring back; raises RuntimeError while calls are under way."""

class Carrier:
    """What a backstore's capsule takes. Raises ValueError when that is none of a version that is known here.

    ``fd`` is an eventfd of the backstore. Made, and used, on the event loop's thread.
    """

    def __init__(self, capsule: object, fd: int) -> None: ...
    @property
    def waiting(self) -> bool:
        """Whether :meth:`reap` has something to do."""

    @property
    def under_way(self) -> int:
        """Calls that the capsule has, or that have ended and wait for :meth:`reap`."""

    def reap(self) -> list[tuple[Any, int]]:
        """Answer what has ended: pairs of what is to be called, and its argument; and the other argument."""
