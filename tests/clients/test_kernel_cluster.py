"""Three nodes of a cluster, each a session of the kernel's initiator: the target is killed before every step.

The steps are those of fence_scsi and of Windows' cluster validation, by sg_persist, with what each node may write.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.machine import HOST
from lab.testing import needs_lab
from support.gate import Gate
from support.target import RunningTarget, start_target

from .guest import Guest

IQN = "iqn.2026-11.example:cluster"
NODES = (1, 2, 3)
DONE, CONFLICT = 0, 24
"""sg3-utils' exit statuses: SG_LIB_CAT_RES_CONFLICT is 24."""
REGISTER, RESERVE, RELEASE, CLEAR = "-o -G", "-o -R -T 5", "-o -L -T 5", "-o -C"
IGNORE, PREEMPT, ABORT = "-o -I", "-o -P -T 5", "-o -A -T 5"


class Cluster:
    """A target that is killed before each step, its disks as each node sees them, and sg_persist."""

    def __init__(self, guest: Guest, folder: Path, luns: tuple[str, ...]) -> None:
        self._guest = guest
        self._folder = folder
        self._luns = [word for lun in luns for word in ("--lun", lun)]
        self.kills = 0
        self._began = time.monotonic()
        self.target = self._start()
        self.door = Gate(self.target.addresses[0])
        portal = f"{HOST}:{self.door.port}"
        self.disks = {node: guest.log_in(IQN, portal, f"iqn.2026-11.example:node{node}", len(luns)) for node in NODES}

    def _start(self) -> RunningTarget:
        state = str(self._folder / "state")
        return start_target(self._folder, "--iqn", IQN, *self._luns, "--state", state, "--provider", "none")

    def kill(self) -> None:
        self.door.target = None  # a login that is refused is tried again after seconds; one that waits is not
        self.target.kill()
        self.target = self._start()
        self.door.target = self.target.addresses[0]
        self.kills += 1
        print(f"kill {self.kills} after {time.monotonic() - self._began:.0f} s", flush=True)

    def close(self) -> None:
        self.door.__exit__()
        self.target.stop()

    def _on(self, node: int, lun: int, command: str) -> tuple[int, str]:
        """Run the command on a disk, after a kill; once more for each unit attention (sg3-utils' exit status 6)."""
        self.kill()
        again = (
            f"for n in 1 2 3 4 5; do {command.format(disk=self.disks[node][lun])}; s=$?; [ $s = 6 ] || exit $s; done"
        )
        return self._guest.run(again)

    def out(self, node: int, lun: int, action: str, key: int = 0, new: int = 0, aptpl: bool = True) -> int:
        """PERSISTENT RESERVE OUT; sg_persist's exit status."""
        keys = f"-K {key:x} -S {new:x}" + (" -Z" if aptpl and action in (REGISTER, IGNORE) else "")
        status, printed = self._on(node, lun, f"sg_persist -n {action} {keys} {{disk}}")
        assert status in (DONE, CONFLICT), printed
        return status

    def keys(self, node: int, lun: int) -> list[int]:
        status, printed = self._on(node, lun, "sg_persist -n -i -k {disk}")
        assert status == 0, printed
        return [int(key, 16) for key in re.findall(r"^ +0x([0-9a-f]+)$", printed, re.M)]

    def holder(self, node: int, lun: int) -> int:
        status, printed = self._on(node, lun, "sg_persist -n -i -r {disk}")
        assert status == 0, printed
        found = re.search(r"Key=0x([0-9a-f]+)", printed)
        return int(found[1], 16) if found else 0

    def write(self, node: int, lun: int) -> int:
        """By the block device; 0, or CONFLICT where the kernel says that it is one (EBADE)."""
        status, printed = self._on(node, lun, "LC_ALL=C dd if=/dev/zero of={disk} bs=4k count=1 oflag=direct")
        assert status == 0 or "Invalid exchange" in printed, printed
        return CONFLICT if status else DONE

    def read(self, node: int, lun: int) -> int:
        return self._on(node, lun, "dd if={disk} of=/dev/null bs=4k count=1 iflag=direct")[0]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """LUN 0 keeps what asks for it (APTPL), LUN 1 keeps all."""
    luns = (f"0=file:{tmp_path}/a,size=8M", f"1=file:{tmp_path}/b,size=8M,reservations=keep")
    with Guest(tmp_path / "host", needs_lab()) as guest:
        made = Cluster(guest, tmp_path, luns)
        try:
            yield made
        finally:
            made.close()


def fence_scsi(cluster: Cluster, lun: int, aptpl: bool) -> None:
    """Two nodes unfence themselves; node 1 fences node 2, which is unfenced when it has been mended."""
    for node in (1, 2):
        assert cluster.out(node, lun, IGNORE, 0, node, aptpl) == DONE
        if not cluster.holder(node, lun):
            assert cluster.out(node, lun, RESERVE, node) == DONE
        assert node in cluster.keys(node, lun)
    assert cluster.write(1, lun) == cluster.write(2, lun) == DONE
    assert cluster.out(1, lun, ABORT, 1, 2) == DONE
    assert cluster.keys(1, lun) == [1]
    assert cluster.write(2, lun) == CONFLICT
    assert cluster.read(2, lun) == DONE
    assert cluster.write(1, lun) == DONE
    assert cluster.out(2, lun, IGNORE, 0, 2, aptpl) == DONE
    assert cluster.write(2, lun) == DONE


def windows_validation(cluster: Cluster, lun: int) -> None:
    """Three nodes register; one reserves, the others are kept to it; it is challenged, preempted, and cleared."""
    for node in NODES:
        assert cluster.out(node, lun, REGISTER, 0, node, False) == DONE
    assert sorted(cluster.keys(1, lun)) == [1, 2, 3]
    assert cluster.out(1, lun, RESERVE, 1) == DONE
    assert cluster.out(2, lun, RESERVE, 2) == CONFLICT
    assert [cluster.write(node, lun) for node in NODES] == [DONE, DONE, DONE]
    assert cluster.out(3, lun, REGISTER, 3, 0, False) == DONE
    assert cluster.write(3, lun) == CONFLICT
    assert cluster.out(2, lun, PREEMPT, 2, 1) == DONE
    assert cluster.holder(2, lun) == 2
    assert cluster.write(1, lun) == CONFLICT
    assert cluster.out(1, lun, RELEASE, 1) == CONFLICT
    assert cluster.out(2, lun, RELEASE, 2) == DONE
    assert cluster.write(1, lun) == DONE
    assert cluster.out(2, lun, CLEAR, 2) == DONE
    assert cluster.keys(2, lun) == []


@pytest.mark.lab
@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_fenced_node_stays_fenced_while_the_target_is_killed_before_every_step(cluster: Cluster) -> None:
    fence_scsi(cluster, 0, aptpl=True)
    fence_scsi(cluster, 1, aptpl=False)
    assert cluster.out(1, 1, CLEAR, 1) == DONE
    windows_validation(cluster, 1)
    assert cluster.kills > 40
