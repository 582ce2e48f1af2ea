"""Two paths of dm-multipath to one disk: it goes by our access states (ALUA), while a load writes and checks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lab.machine import HOST
from lab.testing import needs_lab
from support.target import RunningTarget, start_target

from .guest import Guest

IQN = "iqn.2026-11.example:paths"
INITIATOR = "iqn.2026-11.example:multipath"
PRIORITIES = {"optimized": 50, "non-optimized": 10, "standby": 1}
"""What multipath-tools makes of the states."""
CONFIGURATION = """
defaults {
    polling_interval 1
    max_polling_interval 1
    find_multipaths no
    path_grouping_policy group_by_prio
    failback immediate
    no_path_retry 30
}
"""
LOAD = """
import mmap, os, sys
disk = os.open("/dev/mapper/" + sys.argv[1], os.O_RDWR | os.O_DIRECT)
data, found = mmap.mmap(-1, 4096), mmap.mmap(-1, 4096)
done = 0
while not os.path.exists("/host/enough"):
    block = done * 7 % 512
    data[:] = done.to_bytes(8, "big") * 512
    os.pwrite(disk, data, block * 4096)
    os.preadv(disk, [found], block * 4096)
    if found[:] != data[:]:
        sys.exit(f"round {done}: block {block} is not as it was written")
    done += 1
    with open("/host/part", "w") as file:
        file.write(str(done))
    os.rename("/host/part", "/host/rounds")
print(done)
"""


# udev makes the node behind multipathd's back: a busy machine had the map listed, and no disk of that name.
MAP = """\
for _ in $(seq 300); do
    name=$(multipathd show maps raw format "%n" | head -n 1)
    if [ -n "$name" ] && [ -e "/dev/mapper/$name" ]; then break; fi
    sleep 0.2
done
echo "$name"
"""


def change(target: RunningTarget, *states: str) -> None:
    command = [sys.executable, "-m", "iscsitools", "alua", "set", "--name", f"iscsi{target.pid}", IQN, *states]
    env = os.environ | {"XDG_RUNTIME_DIR": str(target.runtime)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr


class Paths:
    """dm-multipath's view in the guest, and the load upon it."""

    def __init__(self, guest: Guest, target: RunningTarget) -> None:
        self._guest = guest
        portals = [f"{HOST}:{port}" for _, port in target.addresses]
        self.disks = {portal: guest.log_in(IQN, portal, INITIATOR)[0].removeprefix("/dev/") for portal in portals}
        guest.sh(f"cat >/etc/multipath.conf <<'END'\n{CONFIGURATION}\nEND\nmodprobe dm_multipath\nmultipathd")

    def priorities(self) -> list[int]:
        """By path, in the order of the portals."""
        status, printed = self._guest.run('multipathd show paths format "path %d %p"')
        found = dict(re.findall(r"^path (\S+) +(\d+)", printed, re.M)) if status == 0 else {}
        return [int(found.get(disk, 0)) for disk in self.disks.values()]

    def written(self) -> list[int]:
        """How many writes each path has carried."""
        numbers = [self._guest.sh(f"cat /sys/block/{disk}/stat").split()[4] for disk in self.disks.values()]
        return [int(number) for number in numbers]

    def settle(self, *states: str) -> None:
        """Wait until the paths have the priorities of these states, and then until only the best one carries."""
        end = time.monotonic() + 120
        wanted = [PRIORITIES[state] for state in states]
        while self.priorities() != wanted:
            assert time.monotonic() < end, f"{self.priorities()}, not {wanted}: {self._guest.run('multipath -ll')[1]}"
            time.sleep(0.2)
        best = wanted.index(max(wanted))
        while True:
            before = self.written()
            self.wait_for_rounds(20)
            moved = [after - one for after, one in zip(self.written(), before, strict=True)]
            if moved[best] >= 20 and sum(moved) == moved[best]:
                return
            assert time.monotonic() < end, f"{moved} writes by {states}: {self._guest.run('multipath -ll')[1]}"

    def load(self, folder: Path) -> None:
        (folder / "load.py").write_text(LOAD)
        name = self._guest.sh(MAP).split()[0]
        self._guest.sh(
            f"setsid sh -c 'python3 /host/load.py {name} >/host/load.out 2>&1; echo $? >/host/load.status' &"
        )
        self._folder = folder

    def rounds(self) -> int:
        file = self._folder / "rounds"
        return int((file.read_text() if file.exists() else "") or 0)

    def wait_for_rounds(self, more: int) -> None:
        end, wanted = time.monotonic() + 180, self.rounds() + more
        while self.rounds() < wanted:
            status = self._folder / "load.status"
            assert not status.exists(), (self._folder / "load.out").read_text()
            assert time.monotonic() < end, f"the load stands: {self._guest.run('multipath -ll')[1]}"
            time.sleep(0.05)

    def end(self) -> int:
        (self._folder / "enough").touch()
        status = self._folder / "load.status"
        end = time.monotonic() + 120
        while not (status.exists() and status.read_text()):  # a name may come before what is in the file
            assert time.monotonic() < end, "the load does not end"
            time.sleep(0.05)
        assert status.read_text() == "0\n", (self._folder / "load.out").read_text()
        return self.rounds()


@pytest.mark.lab
@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_multipath_goes_by_the_access_states_under_a_load_that_checks(tmp_path: Path) -> None:
    words = ("--iqn", IQN, "--lun", f"file:{tmp_path}/disk,size=64M", "--provider", "none")
    portals = ("127.0.0.1:0,1", "127.0.0.1:0,2")
    host = tmp_path / "host"
    with start_target(tmp_path, *words, portals=portals) as target, Guest(host, needs_lab()) as guest:
        change(target, "1=optimized", "2=non-optimized")
        paths = Paths(guest, target)
        paths.load(host)
        paths.settle("optimized", "non-optimized")
        for states in (("non-optimized", "optimized"), ("optimized", "standby"), ("standby", "optimized")):
            change(target, *(f"{group}={state}" for group, state in enumerate(states, 1)))
            paths.settle(*states)
        assert paths.end() > 100
        sessions = json.loads(guest.sh("multipathd show maps json"))["maps"][0]
        assert "alua" in json.dumps(sessions)
