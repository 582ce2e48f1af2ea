"""The file that all targets serve: prefilled, in the page cache, and checked through each target before timing."""

from __future__ import annotations

import os
import random
from pathlib import Path

from loadgen import Endpoint

from iscsitools.initiator import Session

PIECE = 1 << 20
MD5 = "5"
"""The only algorithm of CHAP that all targets know (RFC 7143 12.1.3)."""


def prepare(path: Path, size: int) -> None:
    """Make the file unless it is there with this size, not sparse; bring it into the page cache in single pages."""
    if not path.exists() or path.stat().st_size != size or path.stat().st_blocks * 512 < size:
        with path.open("wb") as file:
            for number in range(size // PIECE):
                file.write(random.Random(number).randbytes(PIECE))
    settle(path)
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    settle(path)


def settle(path: Path) -> None:
    """Write back what is dirty and read in what is missing, so that no run pays for another one.

    Pages are read one by one (POSIX_FADV_RANDOM: no read-ahead). In the large folios that read-ahead makes on newer
    kernels, ext4 walks over every block of a folio at each small write, which costs all targets 40 us and more.
    """
    buffer = bytearray(PIECE)
    with path.open("rb", buffering=0) as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        while file.readinto(buffer):
            pass


def chill(path: Path) -> None:
    """Write back what is dirty and take all of it out of the page cache."""
    with path.open("rb", buffering=0) as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def check_pattern(endpoint: Endpoint, seed: str, chap: tuple[str, str] | None = None) -> None:
    """Write patterns of several sizes at several places, read them back; raises RuntimeError when they differ."""
    chance = random.Random(seed)
    address = (endpoint.host, endpoint.port)
    with Session.connect(address, endpoint.target, strict=False, chap=chap, algorithms=MD5) as session:
        blocks, size = session.read_capacity(endpoint.lun)
        written = []
        for number, count in enumerate((1, 8, 63, 512, 2048)):
            lba = blocks // 6 * (number + 1)
            data = chance.randbytes(count * size)
            session.write(lba, data, endpoint.lun, size)
            written.append((lba, count, data))
        for lba, count, data in written:
            if session.read(lba, count, endpoint.lun, size) != data:
                raise RuntimeError(f"{endpoint.target}: what was written at block {lba} is not what was read")
        session.logout()
