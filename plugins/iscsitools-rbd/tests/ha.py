"""Two heads of one image under a verified load, while one of them, or an OSD, is killed, stopped or cut off.

``python3 ha.py [ROUNDS]`` makes a Ceph, and after each fault prints how long writes stood still; see ``make ha``.
Faults may be named instead: ``kill``, ``stop``, ``osd``, ``mon``, ``nomon`` (a head killed while there is no monitor),
and in a network namespace ``cut`` (a head's link to Ceph) and ``link`` (its link to the initiator, which has the other
head take over).
"""

from __future__ import annotations

import contextlib
import os
import queue
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ceph_cluster import Cluster, missing
from iscsitools.initiator import InitiatorError, Session
from iscsitools.wire.scsi import Status

from iscsitools_rbd.ceph import modules

IQN = "iqn.2026-11.example:ha"
INITIATOR = "iqn.2026-11.example:ha-client"
LIMIT = 15.0
"""Seconds within which another head has to answer."""
_CABLES = frozenset({"cut", "link"})
_STANDBY = (2, 0x04, 0x0B)
_BLOCKS = 8
_SLOTS = 64
_REGISTER, _RESERVE = 0, 1
_KEY = (0x1234).to_bytes(8, "big")


class HeadProcess:
    """A target that exports the image as head ``number``; the port stays when it is started again."""

    takeover = "5s"

    def __init__(self, cluster: Cluster, image: str, number: int, log: Path) -> None:
        self._cluster = cluster
        self._image = image
        self.number = number
        self._log = log
        self.killed = False
        self.address = self._address()
        self.start()

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        self.killed = False
        command = [
            sys.executable, "-m", "iscsitools", "serve", "--iqn", IQN,
            "--portal", f"{self.address[0]}:{self.address[1]},{self.number}",
            "--state", str(self._log.parent / f"state-{self.number}"), "--provider", "none",
            "--lun",
            f"0=rbd:{self._image},conf={self._cluster.conf},head={self.number},wait=3s,takeover={self.takeover}",
        ]  # fmt: skip
        with self._log.open("ab") as log:
            self.process = subprocess.Popen([*self._where(), *command], stdout=subprocess.PIPE, stderr=log, text=True)
        self._connect()
        lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(self.process, lines), daemon=True)
        self._reader.start()
        until = time.monotonic() + 60
        while True:
            line = lines.get(timeout=max(0.1, until - time.monotonic()))
            assert line, f"head {self.number} has ended: {self._log.read_text()[-2000:]}"
            if found := re.search(r"listens on ([\d.]+):(\d+)", line):
                self.address = (found[1], int(found[2]))
                return

    def _address(self) -> tuple[str, int]:
        """Where it listens at first."""
        return "127.0.0.1", 0

    def _where(self) -> list[str]:
        """What starts it somewhere else."""
        return []

    def _connect(self) -> None:
        """Give it its network."""

    @staticmethod
    def _read(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put("")

    def send(self, number: signal.Signals) -> None:
        """A signal to it."""
        self.process.send_signal(number)
        self.killed = number == signal.SIGKILL
        if self.killed:
            self._ended()

    def stop(self) -> int:
        """End it in an orderly way; returns its status, 0 too of one that was killed and not started again."""
        if self.killed:
            return 0
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
        return self._ended()

    def _ended(self) -> int:
        status = self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


class NamespacedHead(HeadProcess):
    """A head in a network of its own, with a link to Ceph and one to initiators; this process has one, too."""

    def __init__(self, cluster: Cluster, image: str, number: int, log: Path) -> None:
        self._links = (f"ceph{number}", f"scsi{number}")
        super().__init__(cluster, image, number, log)

    def _address(self) -> tuple[str, int]:
        return f"10.1.{self.number}.2", 3260

    def _where(self) -> list[str]:
        number = self.number
        ready = (
            "while ! ip link show ceph >/dev/null 2>&1 || ! ip link show scsi >/dev/null 2>&1; do sleep 0.05; done;"
            "ip link set lo up; ip link set ceph up; ip link set scsi up;"
            f"ip addr add 10.2.{number}.2/24 dev ceph; ip addr add 10.1.{number}.2/24 dev scsi;"
            f"ip route add {CEPH_ADDRESS} via 10.2.{number}.1"
        )
        return ["unshare", "--net", "sh", "-c", f'{ready}; exec "$@"', "head"]

    def _connect(self) -> None:
        own = Path("/proc/self/ns/net").readlink()
        while Path(f"/proc/{self.process.pid}/ns/net").readlink() == own:
            time.sleep(0.01)
        for link, network in zip(self._links, ("10.2", "10.1"), strict=True):
            _ip("link", "add", link, "type", "veth", "peer", "name", link[:4], "netns", str(self.process.pid))
            _ip("addr", "add", f"{network}.{self.number}.1/24", "dev", link)
            _ip("link", "set", link, "up")

    def cut(self, off: bool, kind: str = "cut") -> None:
        """Pull the cable to Ceph, or to the initiator (``link``), or put it in again."""
        _ip("link", "set", self._links[kind == "link"], "down" if off else "up")


CEPH_ADDRESS = "10.0.0.1"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


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
                    found = paths.command(_cdb(0x28, lba), read=4096).data
                    self.reads += 1
                    if found != _content(number, slot, versions[slot]):
                        self.wrong.append(f"slot {number}.{slot} should be {versions[slot]}: {_told(found)}")
                else:
                    data = _content(number, slot, versions[slot] + 1)
                    assert paths.command(_cdb(0x2A, lba), write=data).good
                    versions[slot] += 1
                    self._wrote()
            for slot, version in enumerate(versions):
                if version:
                    found = paths.command(_cdb(0x28, (number * _SLOTS + slot) * _BLOCKS), read=4096).data
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


def _cdb(code: int, lba: int) -> bytes:
    return bytes([code, 0]) + lba.to_bytes(4, "big") + bytes([0]) + _BLOCKS.to_bytes(2, "big") + bytes(1)


def _content(thread: int, slot: int, version: int) -> bytes:
    return b"%02d %04d %08d" % (thread, slot, version) * (4096 // 16)


def _told(found: bytes) -> str:
    stamps = sorted({found[at : at + 16] for at in range(0, len(found), 16)})
    return f"{'torn' if len(stamps) > 1 else 'stale or lost'}, {stamps[:3]}"


class Pair:
    """Two heads, and the load."""

    def __init__(self, cluster: Cluster, image: str, folder: Path, kind: type[HeadProcess]) -> None:
        self.cluster = cluster
        self.folder = folder
        self.heads = [kind(cluster, image, number, folder / f"head-{number}.log") for number in (1, 2)]
        self.addresses = [head.address for head in self.heads]

    def active(self) -> int:
        """The index of the head that reads; waits for one."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            for index, address in enumerate(self.addresses):
                with contextlib.suppress(InitiatorError, OSError):
                    session = Session.connect(address, IQN, initiator=f"{INITIATOR}-looks", timeout=3.0)
                    with session:
                        for _ in range(5):
                            result = session.command(_cdb(0x28, 0), read=4096)
                            if result.good or result.status == Status.RESERVATION_CONFLICT:
                                return index
            time.sleep(0.1)
        raise AssertionError("no head is active")

    def reserve(self) -> None:
        """Register both paths of a key, and reserve: write exclusive, for registrants only, type 5."""
        for isid in range(3):
            paths = Paths(self.addresses, 0x400001370000 + isid)
            for path in (0, 1):
                result = paths.on(path, bytes([0x5F, 0x06]) + bytes(6) + b"\x18\0", write=bytes(8) + _KEY + bytes(8))
                assert result.good, result
            paths.close()
        paths = Paths(self.addresses, 0x400001370000)
        at = self.active()
        assert paths.on(at, bytes([0x5F, _RESERVE, 5]) + bytes(5) + b"\x18\0", write=_KEY + bytes(16)).good
        paths.close()

    def is_reserved(self) -> bool:
        """Whether the active head keeps a stranger from writing, and knows all six registrations."""
        address = self.addresses[self.active()]
        with Session.connect(address, IQN, initiator=f"{INITIATOR}-not", timeout=10.0) as session:
            result = session.command(bytes(6))
            result = session.command(_cdb(0x2A, 8192), write=bytes(4096))
            while result.status == Status.CHECK_CONDITION and result.sense_code[0] == 6:
                result = session.command(_cdb(0x2A, 8192), write=bytes(4096))
            keys = session.command(bytes([0x5E, 0]) + bytes(5) + b"\1\0\0", read=256).data
        return result.status == Status.RESERVATION_CONFLICT and int.from_bytes(keys[4:8], "big") == 6 * 8

    def longest_atomic_write(self) -> int:
        """MAXIMUM ATOMIC TRANSFER LENGTH of the active head, in blocks (SBC-4 6.6.4)."""
        address = self.addresses[self.active()]
        with Session.connect(address, IQN, initiator=f"{INITIATOR}-asks", timeout=10.0) as session:
            page = session.command(bytes([0x12, 1, 0xB0, 0, 0xFF, 0]), read=255).data
        return int.from_bytes(page[44:48], "big")

    def fault(self, kind: str, load: Load) -> float:
        """Do it to the active head, or to an OSD; returns how long no write was answered."""
        load.wait_for_writes(30)
        load.take_gap()
        if kind == "osd":
            self.cluster.kill("osd.1")
            load.wait_for_writes(100)
            return load.take_gap()
        if kind == "mon":
            self.cluster.signal("mon.a", signal.SIGSTOP)
            load.wait_for_writes(100)
            self.cluster.signal("mon.a", signal.SIGCONT)
            return load.take_gap()
        head = self.heads[self.active()]
        if kind == "nomon":
            return self._kill_without_monitor(head, load)
        if isinstance(head, NamespacedHead) and kind in _CABLES:
            load.asks.set() if kind == "link" else load.asks.clear()
            head.cut(True, kind)
        else:
            head.send(signal.SIGKILL if kind == "kill" else signal.SIGSTOP)
        load.wait_for_writes(100)
        gap = load.take_gap()
        if kind == "kill":
            head.start()
        elif isinstance(head, NamespacedHead) and kind in _CABLES:
            head.cut(False, kind)
        else:
            head.send(signal.SIGCONT)  # what it held comes back, and has to be refused
        load.wait_for_writes(100)
        return gap

    def _kill_without_monitor(self, head: HeadProcess, load: Load) -> float:
        """Nobody can be shut out then, so nobody takes over; returns how long it took when the monitor was back."""
        self.cluster.signal("mon.a", signal.SIGSTOP)
        head.send(signal.SIGKILL)
        time.sleep(float(head.takeover[:-1]) + 3)
        before = load.writes
        time.sleep(3)
        if load.writes != before:
            load.wrong.append("a head took over without a monitor")
        self.cluster.signal("mon.a", signal.SIGCONT)
        back = time.monotonic()
        load.wait_for_writes(1)
        gap = time.monotonic() - back
        load.wait_for_writes(100)
        head.start()
        load.wait_for_writes(100)
        return gap

    def stop(self) -> None:
        """End both."""
        ended = {head.number: head.stop() for head in self.heads}
        assert not any(ended.values()), f"a head has not ended well: {ended}"


@contextlib.contextmanager
def pair(cluster: Cluster, image: str, kind: type[HeadProcess] = HeadProcess) -> Iterator[Pair]:
    """Two heads until the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix="heads-", dir="/tmp"))
    made = Pair(cluster, image, folder, kind)
    try:
        yield made
    finally:
        made.stop()
    shutil.rmtree(folder)


def run(kinds: list[str]) -> int:
    """Make a Ceph and a pair, do these faults, print what came of each, and return how much was wrong."""
    folder = Path(tempfile.mkdtemp(prefix="ceph-", dir="/tmp"))
    head: type[HeadProcess] = HeadProcess
    apart = bool(_CABLES.intersection(kinds))
    if apart:
        head = NamespacedHead
        _ip("link", "set", "lo", "up")
        _ip("addr", "add", f"{CEPH_ADDRESS}/32", "dev", "lo")
    cluster = Cluster(folder, address=CEPH_ADDRESS if apart else "127.0.0.1")
    wrong = 0
    try:
        pool = cluster.client.open_ioctx("rbd")
        modules()[1].RBD().create(pool, "ha", 64 << 20)
        pool.close()
        with pair(cluster, "rbd/ha", head) as made:
            made.reserve()
            load = Load(made.addresses)
            for number, kind in enumerate(kinds, 1):
                gap = made.fault(kind, load)
                kept = made.is_reserved()
                told = "kept" if kept else "LOST"
                print(f"{number:3} {kind:5} no write answered for {gap:5.1f} s, reservation {told}", flush=True)
                wrong += gap > LIMIT or not kept
            load.end()
            print(f"{load.writes} writes and {load.reads} reads checked, wrong: {len(load.wrong)}", flush=True)
            print(*load.wrong, sep="\n", end="")
            wrong += len(load.wrong)
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return wrong


def _unshare() -> list[str]:
    """What begins a network namespace; who is not root gets a user namespace in which he is."""
    return ["unshare", *(["--user", "--map-root-user"] if os.geteuid() else []), "--net"]


def no_namespace() -> str:
    """Why no head can be cut off here, in a line; empty: it can."""
    if shutil.which("ip") is None:
        return "to cut a head off needs ip (Debian package iproute2)"
    done = subprocess.run([*_unshare(), "true"], capture_output=True, text=True, check=False)
    return f"to cut a head off needs a network namespace: {done.stderr.strip()}" if done.returncode else ""


def in_namespace(kinds: list[str]) -> subprocess.CompletedProcess[str]:
    """The same in a network namespace, where a head can be cut off from Ceph."""
    command = [*_unshare(), sys.executable, __file__, *kinds]
    return subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)


def _main(arguments: list[str]) -> int:
    if reason := missing():
        print(reason, file=sys.stderr)
        return 1
    if arguments and not arguments[0].isdigit():
        return min(1, run(arguments))
    rounds = int(arguments[0]) if arguments else 20
    wrong = run(["kill", "stop"] * rounds + ["mon", "nomon", "osd"])
    if reason := no_namespace():
        print(reason, file=sys.stderr)
        return 1
    cut = in_namespace(["cut", "link"] * rounds)
    print(cut.stdout, end="")
    return min(1, wrong + cut.returncode)


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
