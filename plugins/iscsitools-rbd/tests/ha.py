"""Two heads of one image under a verified load, while one of them, or an OSD, is killed, stopped or cut off.

``python3 ha.py [ROUNDS]`` makes a Ceph, and after each fault prints how long writes stood still; see ``make ha``.
Faults may be named instead: ``kill``, ``stop``, ``osd``, ``mon``, ``nomon`` (a head killed while there is no monitor),
``spare`` (the standby head killed), and in a network namespace ``cut`` (a head's link to Ceph) and ``link`` (its link
to the initiator, which has the other head take over).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from ceph_cluster import Cluster, missing
from head_process import CEPH_ADDRESS, IQN, HeadProcess, NamespacedHead, ip
from iscsitools.initiator import InitiatorError, Session
from iscsitools.wire.scsi import Status
from verified_load import INITIATOR, Load, Paths, cdb

from iscsitools_rbd.ceph import modules

LIMIT = 15.0
"""Seconds within which another head has to answer."""
_CABLES = frozenset({"cut", "link"})
_REGISTER, _RESERVE = 0, 1
_KEY = (0x1234).to_bytes(8, "big")


class AnyLoad(Protocol):
    """A verified load, whoever makes it."""

    writes: int
    wrong: list[str]
    asks: threading.Event

    def take_gap(self) -> float:
        """The longest time without an answered write since this was called last, up to now."""

    def wait_for_writes(self, count: int) -> None:
        """Until so many more have been answered."""


class Pair:
    """Two heads, and the faults."""

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
                            result = session.command(cdb(0x28, 0), read=4096)
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

    def is_reserved(self, registrations: int = 6) -> bool:
        """Whether the active head keeps a stranger from writing, and knows all registrations."""
        address = self.addresses[self.active()]
        with Session.connect(address, IQN, initiator=f"{INITIATOR}-not", timeout=10.0) as session:
            result = session.command(bytes(6))
            result = session.command(cdb(0x2A, 8192), write=bytes(4096))
            while result.status == Status.CHECK_CONDITION and result.sense_code[0] == 6:
                result = session.command(cdb(0x2A, 8192), write=bytes(4096))
            keys = session.command(bytes([0x5E, 0]) + bytes(5) + b"\1\0\0", read=256).data
        return result.status == Status.RESERVATION_CONFLICT and int.from_bytes(keys[4:8], "big") == registrations * 8

    def longest_atomic_write(self) -> int:
        """MAXIMUM ATOMIC TRANSFER LENGTH of the active head, in blocks (SBC-4 6.6.4)."""
        address = self.addresses[self.active()]
        with Session.connect(address, IQN, initiator=f"{INITIATOR}-asks", timeout=10.0) as session:
            page = session.command(bytes([0x12, 1, 0xB0, 0, 0xFF, 0]), read=255).data
        return int.from_bytes(page[44:48], "big")

    def fault(self, kind: str, load: AnyLoad) -> float:
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
        if kind == "spare":
            return self._kill_the_standby_one(load)
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

    def _kill_the_standby_one(self, load: AnyLoad) -> float:
        """No write waits for it, and the other one stays the active one."""
        active = self.active()
        spare = self.heads[1 - active]
        spare.send(signal.SIGKILL)
        load.wait_for_writes(100)
        gap = load.take_gap()
        spare.start()
        load.wait_for_writes(100)
        if self.active() != active:
            load.wrong.append("a head has taken over from one that lives")
        return gap

    def _kill_without_monitor(self, head: HeadProcess, load: AnyLoad) -> float:
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
        ip("link", "set", "lo", "up")
        ip("addr", "add", f"{CEPH_ADDRESS}/32", "dev", "lo")
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


def unshare() -> list[str]:
    """What begins a network namespace; who is not root gets a user namespace in which he is."""
    return ["unshare", *(["--user", "--map-root-user"] if os.geteuid() else []), "--net"]


def no_namespace() -> str:
    """Why no head can be cut off here, in a line; empty: it can."""
    if shutil.which("ip") is None:
        return "to cut a head off needs ip (Debian package iproute2)"
    done = subprocess.run([*unshare(), "true"], capture_output=True, text=True, check=False)
    return f"to cut a head off needs a network namespace: {done.stderr.strip()}" if done.returncode else ""


def in_namespace(arguments: list[str], program: str = __file__) -> subprocess.CompletedProcess[str]:
    """This program, or another one, in a network namespace, where a head can be cut off from Ceph."""
    command = [*unshare(), sys.executable, program, *arguments]
    return subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)


def _main(arguments: list[str]) -> int:
    if reason := missing():
        print(reason, file=sys.stderr)
        return 1
    if arguments and not arguments[0].isdigit():
        return min(1, run(arguments))
    rounds = int(arguments[0]) if arguments else 20
    wrong = run(["kill", "stop"] * rounds + ["spare", "mon", "nomon", "osd"])
    if reason := no_namespace():
        print(reason, file=sys.stderr)
        return 1
    cut = in_namespace(["cut", "link"] * rounds)
    print(cut.stdout, end="")
    return min(1, wrong + cut.returncode)


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
