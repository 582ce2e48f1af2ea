"""The server goes away and comes back while initiators work: nothing that was answered is lost, nothing is mixed."""

from __future__ import annotations

import errno
import os
import random
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from iscsitools.initiator import Session
from iscsitools.testing.serving import Served, serve
from nbd_server import nbdkit

from iscsitools_nbd.backstore import NbdBackstore

MIB = 1 << 20
_READ = b"\x28" + bytes(7) + b"\1\0"
_VOLATILE = ("--filter=cache",)
"""With this filter nbdkit keeps writes in a file that is gone with the process, until a flush."""


def volatile(folder: Path) -> tuple[str, ...]:
    (folder / "disk").write_bytes(bytes(4 * MIB))
    return ("file", str(folder / "disk"), "cache=writeback")


def test_answered_writes_that_the_server_has_lost_are_made_again(tmp_path: Path) -> None:
    with (
        nbdkit(tmp_path, *volatile(tmp_path), options=_VOLATILE) as server,
        serve(f"nbd:{server.uri}") as served,
        served.connect() as session,
    ):
        session.write(0, b"a" * 4096)
        session.write(4, b"b" * 4096)  # over half of it
        assert (tmp_path / "disk").read_bytes()[:2048] == bytes(2048), "the server keeps nothing back"
        session.command(b"\x2a\x08\0\0\0\x05\0\0\1\0", write=b"c" * 512)  # with FUA, over both
        server.kill()
        server.start()
        assert session.read(0, 12) == b"a" * 2048 + b"b" * 512 + b"c" * 512 + b"b" * 3072
        session.command(b"\x35" + bytes(9))
        assert (tmp_path / "disk").read_bytes()[:6144] == b"a" * 2048 + b"b" * 512 + b"c" * 512 + b"b" * 3072


def test_a_flush_waits_for_what_is_made_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    slow = ("--filter=log", "--filter=delay")
    with nbdkit(tmp_path, "memory", "1M", f"logfile={log}", "wdelay=100ms", options=slow) as server:
        store = NbdBackstore(server.uri)
        store.open()
        store.write(0, memoryview(b"w" * 512))
        server.kill()
        flushing = threading.Thread(target=store.flush)
        flushing.start()
        server.start()  # with a log of its own
        flushing.join()
        lines = log.read_text().splitlines()
        written = next(i for i, line in enumerate(lines) if " ...Write id=" in line)
        assert written < next(i for i, line in enumerate(lines) if " Flush id=" in line)
        store.close()


def test_what_was_flushed_is_not_kept(tmp_path: Path) -> None:
    with nbdkit(tmp_path, *volatile(tmp_path), options=_VOLATILE) as server:
        store = NbdBackstore(server.uri)
        store.open()
        store.write(0, memoryview(b"1" * 4096))
        assert store._client._changes.bytes > 4096
        store.flush()
        assert store._client._changes.bytes == 0
        store.close()


def test_memory_for_changes_is_bounded_by_flushes_of_our_own(tmp_path: Path) -> None:
    with nbdkit(tmp_path, *volatile(tmp_path), options=_VOLATILE) as server:
        store = NbdBackstore(server.uri, keep=256 << 10)
        store.open()
        most = 0
        for offset in range(0, 4 * MIB, 65536):
            store.write(offset, memoryview(b"m" * 65536))
            most = max(most, store._client._changes.bytes)
        assert most < 512 << 10
        server.kill()
        server.start()
        got = bytearray(4 * MIB)
        store.read_into(0, memoryview(got))
        assert got == b"m" * (4 * MIB)
        store.close()


class Load:
    """Initiators that write blocks of one byte's value, each into its own part of the disk, and read them back."""

    def __init__(self, initiators: int) -> None:
        self.over = threading.Event()
        self.errors: list[str] = []
        self.counts = [0] * initiators

    def run(self, served: Served, number: int) -> None:
        """Until it is over: one initiator's."""
        chance = random.Random(number)
        known = bytearray(2048)  # the value of each block of its part
        with served.connect(f"i{number}") as session:
            while not self.over.is_set():
                self._step(session, number, chance, known)

    def _step(self, session: Session, number: int, chance: random.Random, known: bytearray) -> None:
        first = number * len(known)
        block, blocks, value = chance.randrange(2048 - 16), chance.randrange(1, 17), chance.randrange(1, 256)
        session.write(first + block, bytes([value]) * 512 * blocks)
        known[block : block + blocks] = bytes([value]) * blocks
        if chance.random() < 0.1:
            session.command(b"\x35" + bytes(9))
        at = chance.randrange(2048 - 64)
        got = session.read(first + at, 64)
        if got != b"".join(known[i : i + 1] * 512 for i in range(at, at + 64)):
            self.errors.append(f"initiator {number}: blocks from {at} on are not what was written")
            self.over.set()
        self.counts[number] += 1


@pytest.mark.parametrize("cached", [False, True], ids=["page-cache", "lost-with-the-process"])
def test_restarts_under_a_load_lose_and_mix_nothing(tmp_path: Path, cached: bool) -> None:
    """The server is killed ten times while four initiators work, in the second form with all that was not flushed."""
    arguments = volatile(tmp_path)[: None if cached else 2]
    options = _VOLATILE if cached else ()
    with nbdkit(tmp_path, *arguments, options=options) as server, serve(f"nbd:{server.uri}") as served:
        load = Load(4)
        threads = [threading.Thread(target=load.run, args=(served, number)) for number in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(10):
            before = sum(load.counts)
            while sum(load.counts) < before + 40 and not load.over.is_set():
                assert all(thread.is_alive() for thread in threads)
                time.sleep(0.001)
            server.kill()
            server.start()
        load.over.set()
        for thread in threads:
            thread.join()
        assert load.errors == []
        assert min(load.counts) > 20


def test_a_server_that_stays_away_is_not_ready_and_goes_on_when_it_is_back(tmp_path: Path) -> None:
    with (
        nbdkit(tmp_path, *volatile(tmp_path), options=_VOLATILE) as server,
        serve(f"nbd:{server.uri},timeout=500ms") as served,
        served.connect() as session,
    ):
        session.write(0, b"k" * 512)
        server.kill()
        assert session.command(_READ, read=512).sense_code == (2, 4, 0)
        assert session.command(b"\x35" + bytes(9)).sense_code[0] == 2
        assert served.stores[0].trouble == "the NBD server is away"
        server.start()
        while session.command(_READ, read=512).sense_code != (0, 0, 0):
            time.sleep(0.01)
        assert session.read(0, 1) == b"k" * 512, "what was answered before is there still"
        assert served.stores[0].trouble == ""
        session.command(b"\x35" + bytes(9))
        assert (tmp_path / "disk").read_bytes()[:512] == b"k" * 512


def test_a_server_that_comes_back_larger_is_a_larger_disk(tmp_path: Path) -> None:
    with nbdkit(tmp_path, "memory", "1M") as server, serve(f"nbd:{server.uri}") as served, served.connect() as session:
        assert session.read_capacity()[0] == 2048
        server.kill()
        server.command = (*server.command[:-1], "2M")
        server.start()
        session.read(0, 1)
        result = session.command(_READ, read=512)
        while result.sense_code == (0, 0, 0):
            result = session.command(bytes(6))
        assert result.sense_code == (6, 0x2A, 9), "CAPACITY DATA HAS CHANGED"
        assert session.read_capacity()[0] == 4096


def test_closing_while_the_server_is_away_ends(tmp_path: Path) -> None:
    with nbdkit(tmp_path, "memory", "1M") as server:
        store = NbdBackstore(server.uri)
        store.open()
        server.kill()
        errors: list[OSError] = []
        waiting = threading.Thread(target=partial(_write_into, store, errors))
        waiting.start()
        while not store.trouble or not store._client._waiting:
            time.sleep(0.001)
        store.close()
        waiting.join(10)
        assert [error.errno for error in errors] == [errno.ENODEV]


def _write_into(store: NbdBackstore, errors: list[OSError]) -> None:
    try:
        store.write(0, memoryview(os.urandom(512)))
    except OSError as error:
        errors.append(error)
