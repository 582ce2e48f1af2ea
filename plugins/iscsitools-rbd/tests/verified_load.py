"""A verified load, by an initiator with a path to each head."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from typing import Any

from head_process import IQN
from iscsitools.initiator import InitiatorError, Session
from iscsitools.wire.scsi import Status

INITIATOR = "iqn.2026-11.example:ha-client"
_STANDBY = (2, 0x04, 0x0B)
_BLOCKS = 8
_SLOTS = 64


class Paths:
    """An initiator with a path to each head, as dm-multipath has: it goes on by the next one when one fails."""

    def __init__(self, addresses: list[tuple[str, int]], isid: int, asks: threading.Event | None = None) -> None:
        """``asks``: while it is set, a standby head is asked to take over when the other path has failed."""
        self._asks = asks or threading.Event()
        self._failed: set[tuple[str, int]] = set()
        self._addresses = addresses
        self._isid = isid
        self._sessions: dict[tuple[str, int], Session] = {}
        self._at = 0

    def command(self, cdb: bytes, **data: Any) -> Any:
        """Repeat the command, by one path and the other, until one answers GOOD or RESERVATION CONFLICT."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                result = self._session().command(cdb, **data)
            except (InitiatorError, OSError):
                self._fail()
                continue
            if result.status in (Status.GOOD, Status.RESERVATION_CONFLICT):
                return result
            if result.status == Status.CHECK_CONDITION and result.sense_code[0] == 6:
                continue  # a unit attention
            if result.sense_code == _STANDBY and self._failed and self._asks.is_set():
                self._ask()
            elif result.status != Status.BUSY:
                self._at += 1
            time.sleep(0.05)
        raise AssertionError("no path has answered for a minute")

    def _ask(self) -> None:
        """SET TARGET PORT GROUPS: the group of this path becomes active, as dm-multipath's alua handler asks."""
        group = bytes(4) + bytes([0, 0]) + (self._at % len(self._addresses) + 1).to_bytes(2, "big")
        try:
            self._session().command(bytes.fromhex("a40a00000000000000080000"), write=group)
        except (InitiatorError, OSError):
            self._fail()

    def on(self, path: int, cdb: bytes, **data: Any) -> Any:
        """The command by that path only; unit attentions are taken."""
        self._at = path
        while True:
            result = self._session().command(cdb, **data)
            if result.status != Status.CHECK_CONDITION or result.sense_code[0] != 6:
                return result

    def _session(self) -> Session:
        address = self._addresses[self._at % len(self._addresses)]
        if address not in self._sessions:
            self._sessions[address] = Session.connect(address, IQN, initiator=INITIATOR, isid=self._isid, timeout=4.0)
            self._failed.discard(address)
        return self._sessions[address]

    def _fail(self) -> None:
        address = self._addresses[self._at % len(self._addresses)]
        self._failed.add(address)
        session = self._sessions.pop(address, None)
        if session is not None:
            with contextlib.suppress(OSError):
                session.close()
        self._at += 1
        time.sleep(0.05)

    def close(self) -> None:
        """Close both."""
        for session in self._sessions.values():
            with contextlib.suppress(OSError):
                session.close()


class Load:
    """Writes and reads slots of 4 KiB in threads, each with slots of its own, and checks every byte that it reads.

    ``wrong``: what was lost, stale or torn. ``gap``: the longest time without a write that was answered.
    """

    def __init__(self, addresses: list[tuple[str, int]], threads: int = 3) -> None:
        self.wrong: list[str] = []
        self.writes = self.reads = 0
        self.asks = threading.Event()
        """Whether a standby head is asked to take over when the other path has failed."""
        self._ends = threading.Event()
        self._lock = threading.Lock()
        self._last = time.monotonic()
        self.gap = 0.0
        self._threads = [
            threading.Thread(target=self._run, args=(number, Paths(addresses, 0x400001370000 + number, self.asks)))
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int, paths: Paths) -> None:
        numbers = random.Random(number)
        versions = [0] * _SLOTS
        try:
            while not self._ends.is_set():
                slot = numbers.randrange(_SLOTS)
                lba = (number * _SLOTS + slot) * _BLOCKS
                if versions[slot] and numbers.random() < 0.5:
                    found = paths.command(cdb(0x28, lba), read=4096).data
                    self.reads += 1
                    if found != _content(number, slot, versions[slot]):
                        self.wrong.append(f"slot {number}.{slot} should be {versions[slot]}: {_told(found)}")
                else:
                    data = _content(number, slot, versions[slot] + 1)
                    assert paths.command(cdb(0x2A, lba), write=data).good
                    versions[slot] += 1
                    self._wrote()
            for slot, version in enumerate(versions):
                if version:
                    found = paths.command(cdb(0x28, (number * _SLOTS + slot) * _BLOCKS), read=4096).data
                    if found != _content(number, slot, version):
                        self.wrong.append(f"at the end slot {number}.{slot} should be {version}: {_told(found)}")
        except BaseException as error:
            self.wrong.append(f"{type(error).__name__}: {error}")
        finally:
            paths.close()

    def _wrote(self) -> None:
        with self._lock:
            now = time.monotonic()
            self.gap = max(self.gap, now - self._last)
            self._last = now
            self.writes += 1

    def take_gap(self) -> float:
        """The longest time without an answered write since this was called last, up to now."""
        with self._lock:
            gap, self.gap = max(self.gap, time.monotonic() - self._last), 0.0
            return gap

    def wait_for_writes(self, count: int) -> None:
        """Until so many more have been answered."""
        goal = self.writes + count
        until = time.monotonic() + 60
        while self.writes < goal and not self.wrong:
            assert time.monotonic() < until, "writes stand still"
            time.sleep(0.02)

    def end(self) -> None:
        """Stop, and read all once more."""
        self._ends.set()
        for thread in self._threads:
            thread.join()


def cdb(code: int, lba: int) -> bytes:
    """READ(10) or WRITE(10) of 4 KiB."""
    return bytes([code, 0]) + lba.to_bytes(4, "big") + bytes([0]) + _BLOCKS.to_bytes(2, "big") + bytes(1)


def _content(thread: int, slot: int, version: int) -> bytes:
    return b"%02d %04d %08d" % (thread, slot, version) * (4096 // 16)


def _told(found: bytes) -> str:
    stamps = sorted({found[at : at + 16] for at in range(0, len(found), 16)})
    return f"{'torn' if len(stamps) > 1 else 'stale or lost'}, {stamps[:3]}"
