"""What the module in C has: the same attributes and methods as the two classes in Python."""

from iscsitools.iscsi.connection.datapath import DataPath as DataPath
from iscsitools.scsi.core.gate import Gate as Gate

def checksum(data: bytes | bytearray | memoryview, by_table: bool = False, /) -> int:
    """The CRC32C of ``data``; ``by_table``: without the processor's instruction."""

def settle() -> None:
    """Wait until no data thread is at what it began before this call."""
