"""What an NBD server says of its export is what the disk says, and what initiators ask for is what it is asked."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from iscsitools.backstores.base import Allocation, BackstoreError
from iscsitools.initiator import Session
from iscsitools.testing.serving import serve
from nbd_server import NbdServer, nbdkit

from iscsitools_nbd.backstore import NbdBackstore

MIB = 1 << 20


def lba_status(session: Session, lba: int) -> tuple[int, int]:
    """Blocks and provisioning status of the first extent from there on (SBC-3 5.6)."""
    data = session.command(b"\x9e\x12" + lba.to_bytes(8, "big") + (24).to_bytes(4, "big") + bytes(2), read=24).data
    return int.from_bytes(data[16:20], "big"), data[20] & 15


def test_holes_are_told_and_unmap_makes_more_of_them(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(4 * MIB)
        file.seek(MIB)
        file.write(b"x" * MIB)
    with (
        nbdkit(tmp_path, "file", str(disk)) as server,
        serve(f"nbd:{server.uri}") as served,
        served.connect() as session,
    ):
        assert lba_status(session, 0) == (2048, 1)
        assert lba_status(session, 2048) == (2048, 0)
        descriptor = (2048).to_bytes(8, "big") + (1024).to_bytes(4, "big") + bytes(4)
        session.command(b"\x42" + bytes(6) + b"\0\x18\0", write=b"\0\x16\0\x10" + bytes(4) + descriptor)
        assert session.read(2048, 1025) == bytes(1024 * 512) + b"x" * 512
        assert lba_status(session, 0) == (3072, 1)
        assert os.stat(disk).st_blocks * 512 <= MIB // 2 + 65536


def test_what_the_server_says_of_itself_is_said_of_the_disk(tmp_path: Path) -> None:
    with nbdkit(tmp_path, "memory", "1M") as server:
        store = opened(server)
        assert store.capabilities.volatile_cache
        assert store.capabilities.thin
        assert not store.capabilities.read_only
        store.close()
    with nbdkit(tmp_path, "memory", "1M", options=("--readonly",)) as server:
        store = opened(server)
        assert store.capabilities.read_only
        assert not store.capabilities.volatile_cache
        store.close()


def opened(server: NbdServer, **options: object) -> NbdBackstore:
    store = NbdBackstore(server.uri, **options)  # type: ignore[arg-type]
    store.open()
    return store


def test_extents_without_structured_replies_are_all_mapped(tmp_path: Path) -> None:
    with nbdkit(tmp_path, "memory", "1M", options=("--no-sr",)) as server:
        store = opened(server)
        assert [tuple(extent) for extent in store.extents(4096, 8192)] == [(4096, 8192, Allocation.MAPPED)]
        store.close()


def test_fua_reaches_the_server_as_fua_and_synchronize_cache_as_flush(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with (
        nbdkit(tmp_path, "memory", "1M", f"logfile={log}", options=("--filter=log",)) as server,
        serve(f"nbd:{server.uri}") as served,
        served.connect() as session,
    ):
        log.write_text("")
        session.command(b"\x2a\x08" + bytes(6) + b"\1\0", write=b"f" * 512)
        session.write(1, b"p" * 512)
        assert [line.split(" fua=")[1][0] for line in log.read_text().splitlines() if " Write id=" in line] == [
            "1",
            "0",
        ]
        assert " Flush " not in log.read_text()
        session.command(b"\x35" + bytes(9))
        assert " Flush " in log.read_text()


def test_requests_that_are_longer_than_the_server_takes_are_cut(tmp_path: Path) -> None:
    options = ("--filter=blocksize-policy",)
    limits = ("blocksize-maximum=64K", "blocksize-error-policy=error")
    with nbdkit(tmp_path, "memory", "4M", *limits, options=options) as server:
        store = opened(server)
        content = os.urandom(MIB)
        store.write(0, memoryview(content))
        got = bytearray(MIB)
        store.read_into(0, memoryview(got))
        assert got == content
        store.close()


def test_the_server_s_smallest_block_is_the_disk_s(tmp_path: Path) -> None:
    options = ("--filter=blocksize-policy",)
    policy = ("blocksize-minimum={0}", "blocksize-preferred={0}", "blocksize-error-policy=error")
    with (
        nbdkit(tmp_path, "memory", "1M", *(p.format("4K") for p in policy), options=options) as server,
        serve(f"nbd:{server.uri}") as served,
        served.connect() as session,
    ):
        assert session.read_capacity() == (256, 4096)
        session.write(1, b"b" * 4096, block_size=4096)
        assert session.read(1, 1, block_size=4096) == b"b" * 4096
    with (
        nbdkit(tmp_path, "memory", "1M", *(p.format("8K") for p in policy), options=options) as server,
        pytest.raises(BackstoreError, match="wants requests of 8192 bytes"),
    ):
        opened(server)


def test_errors_of_the_server_are_the_disk_s(tmp_path: Path) -> None:
    trigger = tmp_path / "trigger"
    errors = ("error-pwrite=ENOSPC", "error-pread=EIO", "error-rate=100%", f"error-file={trigger}")
    with (
        nbdkit(tmp_path, "memory", "1M", *errors, options=("--filter=error",)) as server,
        serve(f"nbd:{server.uri}") as served,
        served.connect() as session,
    ):
        trigger.touch()
        assert session.command(b"\x28" + bytes(7) + b"\1\0", read=512).sense_code == (3, 0x11, 0)
        assert session.command(b"\x2a" + bytes(7) + b"\1\0", write=bytes(512)).sense_code == (7, 0x27, 7)
        trigger.unlink()
        session.write(0, b"w" * 512)
        assert session.read(0, 1) == b"w" * 512


def test_the_kernel_s_names_of_errors_come_through(tmp_path: Path) -> None:
    errors = ("error=EPERM", "error-rate=100%", f"error-file={tmp_path / 'on'}")
    with nbdkit(tmp_path, "memory", "1M", *errors, options=("--filter=error",)) as server:
        store = opened(server)
        (tmp_path / "on").touch()
        with pytest.raises(OSError, match="Operation not permitted") as refused:
            store.write(0, memoryview(bytes(512)))
        assert refused.value.errno == errno.EPERM
        store.close()
