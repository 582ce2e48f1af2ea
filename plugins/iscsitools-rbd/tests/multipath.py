"""dm-multipath of the lab's guest in front of two heads, one of which is killed, stopped or cut off, under a load.

``python3 multipath.py [SECONDS]`` begins faults of each kind in turns, as many as fit; ``make ha-multipath``. All of it
is in a network namespace of its own. The guest's kernel logs in to both heads, with the settings of docs/ha.md.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "tests"))  # for the lab

from ceph_cluster import Cluster, missing
from clients.guest import Guest
from ha import LIMIT, Pair, no_namespace, pair, unshare
from head_process import CEPH_ADDRESS, IQN, NamespacedHead, ip
from lab.home import Home

from iscsitools_rbd.ceph import modules

KINDS = ("kill", "stop", "cut", "link")
INITIATOR = "iqn.2026-11.example:multipath"
_DOCUMENT = Path(__file__).parents[3] / "docs" / "ha.md"
_ACTIVE, _STANDBY = 50, 1
"""What multipath-tools makes of the states of the heads (prio alua)."""


class GuestLoad:
    """The load in the guest as :class:`ha.Pair` wants it. Times are good to a fifth of a second."""

    def __init__(self, guest: Guest, folder: Path, disk: str) -> None:
        self._folder = folder
        self.writes = self.reads = 0
        self.wrong: list[str] = []
        self.asks = threading.Event()  # dm-multipath asks a standby head by itself
        self._lock = threading.Lock()
        self._gap, self._last = 0.0, time.monotonic()
        self._ended = threading.Event()
        shutil.copy(Path(__file__).with_name("guest_load.py"), folder)
        guest.sh(f"setsid python3 /host/guest_load.py {disk} /host >/host/load.out 2>&1 &")
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            self._look()

    def _look(self) -> None:
        progress = self._folder / "progress"
        if not progress.exists():
            return
        writes, self.reads, wrong = map(int, progress.read_text().split())
        with self._lock:
            if writes != self.writes:
                now = time.monotonic()
                self._gap, self._last, self.writes = max(self._gap, now - self._last), now, writes
        if wrong and not self.wrong:
            self.wrong.append("the load has found something wrong")

    def take_gap(self) -> float:
        """The longest time without an answered write since this was called last, up to now."""
        with self._lock:
            gap, self._gap = max(self._gap, time.monotonic() - self._last), 0.0
            return gap

    def wait_for_writes(self, count: int) -> None:
        """Until so many more have been answered."""
        goal = self.writes + count
        until = time.monotonic() + 90
        while self.writes < goal and not self.wrong:
            assert time.monotonic() < until, "writes stand still"
            time.sleep(0.05)

    def end(self) -> None:
        """Have it read all once more."""
        (self._folder / "enough").touch()
        until = time.monotonic() + 120
        while not (self._folder / "ended").exists():
            assert time.monotonic() < until, f"the load does not end: {(self._folder / 'load.out').read_text()}"
            time.sleep(0.05)
        self._ended.set()
        self._thread.join()
        self._look()
        self.wrong = (self._folder / "ended").read_text().splitlines()


class Initiator:
    """The guest's kernel with a path to each head."""

    def __init__(self, guest: Guest, addresses: list[tuple[str, int]]) -> None:
        self._guest = guest
        guest.sh(f"cat >>/etc/iscsi/iscsid.conf <<'END'\n{_settings('iscsid.conf')}END\n")
        guest.sh(f"cat >/etc/multipath.conf <<'END'\n{_settings('multipath.conf')}{_MORE}END\n")
        portals = [f"{address}:{port}" for address, port in addresses]
        self.disks = [guest.log_in(IQN, portal, INITIATOR)[0].removeprefix("/dev/") for portal in portals]
        assert len(set(self.disks)) == len(portals), self.disks
        guest.sh("modprobe dm_multipath; modprobe scsi_dh_alua; multipathd")
        self.settle(0)
        self.disk = "/dev/mapper/" + guest.sh('multipathd show maps raw format "%n"').split()[0]
        guest.sh(f"udevadm settle; until [ -b {self.disk} ]; do sleep 0.1; done")

    def settle(self, active: int) -> None:
        """Wait until both paths are up, this head's is the active one, and the other one's is standby."""
        until = time.monotonic() + 60
        wanted = [("active", _ACTIVE if number == active else _STANDBY) for number in range(len(self.disks))]
        while (found := self.paths()) != wanted:
            assert time.monotonic() < until, f"{found}, not {wanted}: {self._guest.run('multipath -ll')[1]}"
            time.sleep(0.2)

    def paths(self) -> list[tuple[str, int]]:
        """The state that dm has each path in, and its priority."""
        status, printed = self._guest.run('multipathd show paths format "path %d %t %p"')
        found = {disk: (state, int(priority)) for disk, state, priority in _PATH.findall(printed)} if not status else {}
        return [found.get(disk, ("", 0)) for disk in self.disks]

    def reserve(self) -> None:
        """Register both paths, and reserve, as a cluster's fence agent does: type 5."""
        self._guest.sh(f"mpathpersist --out --register --param-sark=0x1234 {self.disk}")
        self._guest.sh(f"mpathpersist --out --reserve --param-rk=0x1234 --prout-type=5 {self.disk}")


_MORE = "defaults {\n    find_multipaths no\n    polling_interval 1\n    reservation_key 0x1234\n}\n"
"""The test looks more often; the key is what mpathpersist goes by."""
_PATH = re.compile(r"^path (\S+) +(\S+) +(-?\d+)", re.M)


def _settings(name: str) -> str:
    """What docs/ha.md says has to be in a file."""
    found = re.search(rf"```text\n# {re.escape(name)}\n(.*?)```", _DOCUMENT.read_text(), re.S)
    assert found is not None, name
    return found[1]


class Rounds:
    """Faults in turns, and what came of them."""

    def __init__(self, heads: Pair, initiator: Initiator, load: GuestLoad) -> None:
        self._heads, self._initiator, self._load = heads, initiator, load
        self.wrong = 0

    def fault(self, number: int, kind: str) -> None:
        """One fault to the active head; the other is active afterwards, and stays so when this one is back."""
        before = self._heads.active()
        gap = self._heads.fault(kind, self._load)
        self._initiator.settle(1 - before)
        self._load.wait_for_writes(100)
        after, kept = self._heads.active(), self._heads.is_reserved(registrations=2)
        told = f"head {after + 1} active, reservation {'kept' if kept else 'LOST'}"
        print(f"{number:3} {kind:5} no write answered for {gap:5.1f} s, {told}", flush=True)
        self.wrong += gap > LIMIT or not kept or after == before


def run(seconds: float) -> int:
    """Make a Ceph, a pair and a guest, begin faults for so long, print what came of each; how much was wrong."""
    folder = Path(tempfile.mkdtemp(prefix="ceph-", dir="/tmp"))
    ip("link", "set", "lo", "up")
    ip("addr", "add", f"{CEPH_ADDRESS}/32", "dev", "lo")
    cluster = Cluster(folder / "ceph", address=CEPH_ADDRESS)
    try:
        pool = cluster.client.open_ioctx("rbd")
        modules()[1].RBD().create(pool, "ha", 64 << 20)
        pool.close()
        with pair(cluster, "rbd/ha", NamespacedHead) as heads, Guest(folder / "host", Home.of_environment()) as guest:
            initiator = Initiator(guest, heads.addresses)
            initiator.reserve()
            load = GuestLoad(guest, folder / "host", initiator.disk)
            rounds = Rounds(heads, initiator, load)
            until = time.monotonic() + seconds
            number = 0
            while number == 0 or number % len(KINDS) or time.monotonic() < until:
                rounds.fault(number + 1, KINDS[number % len(KINDS)])
                number += 1
            load.end()
            print(f"{load.writes} writes and {load.reads} reads checked, wrong: {len(load.wrong)}", flush=True)
            print(*load.wrong, sep="\n", end="")
            return rounds.wrong + len(load.wrong)
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _main(arguments: list[str]) -> int:
    if reason := missing() or no_namespace():
        print(reason, file=sys.stderr)
        return 1
    if arguments[:1] == ["--inside"]:
        return min(1, run(float(arguments[1])))
    command = [*unshare(), sys.executable, __file__, "--inside", *(arguments or ["600"])]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
