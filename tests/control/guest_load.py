"""In the lab's guest: verified loads on disks of the kernel's initiator, while the target outside changes.

``python3 guest_load.py IQN``, with nothing but the standard library. It does what the lines of /host/steps say,
one after the other, and prints a line for each, and one for every ``EACH`` rounds of a load.
"""

from __future__ import annotations

import mmap
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

HOST = "10.0.2.2"
STEPS = Path("/host/steps")
BLOCK = 4096
BLOCKS = 1024
EACH = 20


def say(*words: object) -> None:
    """One line, whole: the console is shared by the threads."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def run(*words: str) -> str:
    """A program's output; what it says of an error is the test's to show."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        say("FAILED", *words, "status", done.returncode, done.stdout, done.stderr)
        raise SystemExit(1)
    return done.stdout


class Load(threading.Thread):
    """Writes random blocks past the page cache, and reads others back that were written."""

    def __init__(self, name: str, disk: Path) -> None:
        super().__init__(name=name)
        self.stop = False
        self.done = 0
        self._disk = os.open(disk, os.O_RDWR | os.O_DIRECT)
        self._numbers = random.Random(name)
        self._content: dict[int, bytes] = {}
        self._buffer = mmap.mmap(-1, BLOCK)
        self.start()

    def run(self) -> None:
        try:
            while not self.stop:
                self._round()
        except OSError as error:
            say("FAILED", self.name, error)

    def _round(self) -> None:
        place = self._numbers.randrange(BLOCKS)
        data = self._numbers.randbytes(BLOCK)
        self._buffer[:] = data
        os.pwrite(self._disk, self._buffer, place * BLOCK)
        self._content[place] = data
        known = self._numbers.choice(list(self._content))
        os.preadv(self._disk, [self._buffer], known * BLOCK)
        if self._buffer[:] != self._content[known]:
            say("FAILED", self.name, "reads something else in block", known)
            self.stop = True
        self.done += 1
        if self.done % EACH == 0:
            say(self.name, self.done)


class Guest:
    """The sessions and loads of this initiator, and the steps that it can be told."""

    def __init__(self, iqn: str) -> None:
        self._iqn = iqn
        self._loads: list[Load] = []
        for module in ("iscsi_tcp", "sd_mod"):
            run("modprobe", module)
        Path("/run/lock/iscsi").mkdir(parents=True, exist_ok=True)
        subprocess.Popen(["iscsid", "-f"], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def log_in(self, port: str, user: str, secret: str) -> None:
        """A session by this portal, as this user; without NOPs, so that only a real loss loses its connection."""
        node = ["iscsiadm", "-m", "node", "-T", self._iqn, "-p", f"{HOST}:{port}"]
        while subprocess.run([*node, "-o", "new"], capture_output=True, check=False).returncode:
            time.sleep(0.2)
        for name, value in (
            ("session.auth.authmethod", "CHAP"), ("session.auth.username", user), ("session.auth.password", secret),
            ("conn[0].timeo.noop_out_interval", "0"), ("conn[0].timeo.noop_out_timeout", "0"),
        ):  # fmt: skip
            run(*node, "-o", "update", "-n", f"node.{name}", "-v", value)
        run(*node, "--login")

    def load(self, name: str, session: str, lun: str) -> None:
        """Begin a load on a disk, which the kernel may still be looking at."""
        found: list[Path] = []
        while not found or not Path("/dev", found[0].name).exists():
            found = [place for place in self._disks(session) if place.parent.parent.name.endswith(f":{lun}")]
            time.sleep(0.1)
        self._loads.append(Load(name, Path("/dev", found[0].name)))

    def forget(self, session: str, lun: str) -> None:
        """What who runs an initiator does before a disk is taken away."""
        for place in self._disks(session):
            if place.parent.parent.name.endswith(f":{lun}"):
                (place / "device/delete").write_text("1")

    def rescan(self, session: str, *wanted: str) -> None:
        """Look again, until there are these disks, each as LUN=MiB: the kernel makes them in its own time."""
        run("iscsiadm", "-m", "session", "-r", session, "--rescan")
        while self._sizes(session) != set(wanted):
            time.sleep(0.1)

    def end(self) -> None:
        """Say how often a connection was lost, and what else the kernel saw."""
        for load in self._loads:
            load.stop = True
            load.join()
        said = run("dmesg").splitlines()
        say("lost connections", sum("detected conn error" in line for line in said))
        say("errors", *(line for line in said if "I/O error" in line or "rejecting I/O" in line))

    def _sizes(self, session: str) -> set[str]:
        return {
            f"{disk.parent.parent.name.rpartition(':')[2]}={int((disk / 'size').read_text()) * 512 >> 20}"
            for disk in self._disks(session)
        }

    def _disks(self, session: str) -> list[Path]:
        return list(Path(f"/sys/class/iscsi_session/session{session}/device").glob("target*/*/block/sd*"))


def main() -> None:
    """Do each step as soon as it is there."""
    guest = Guest(sys.argv[1])
    steps: dict[str, Callable[..., None]] = {
        "log_in": guest.log_in, "load": guest.load, "forget": guest.forget, "rescan": guest.rescan, "end": guest.end,
    }  # fmt: skip
    number, name = 0, ""
    while name != "end":
        lines = STEPS.read_text().splitlines()
        if number == len(lines):
            time.sleep(0.1)
            continue
        name, *words = lines[number].split()
        number += 1
        steps[name](*words)
        say("did", number)


if __name__ == "__main__":
    main()
