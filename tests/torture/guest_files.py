"""In the lab's guest: a file system on a disk of the kernel's initiator, which loses its power again and again.

``python3 guest_files.py IQN PORTAL ROUNDS SEED``, with nothing but the standard library. It prints, a line each, what
the test outside keeps: what a file system was found with, what became durable, and what is on its way.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import mmap
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

MOUNT = Path("/mnt")
WRITERS = 4
MOST_FILES = 24
WRITTEN = 7
"""sync_file_range(2): write all out and wait for it. It flushes nothing."""


def say(*words: object) -> None:
    """One line, whole: the console is shared by the threads."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def run(*words: object, good: tuple[int, ...] = (0,)) -> str:
    """A program's output; what it says of an error is the test's to show."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode not in good:
        say("FAILED", *words, "status", done.returncode, done.stdout, done.stderr)
        raise SystemExit(1)
    return done.stdout


def start_initiator(iqn: str, portal: str) -> list[str]:
    """iscsid, and the words for iscsiadm. A session that is lost fails its I/O after a second, as with multipath."""
    for module in ("iscsi_tcp", "sd_mod", "ext4"):
        run("modprobe", module)
    Path("/run/lock/iscsi").mkdir(parents=True, exist_ok=True)
    subprocess.Popen(["iscsid", "-f"], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    node = ["iscsiadm", "-m", "node", "-T", iqn, "-p", portal]
    while subprocess.run([*node, "-o", "new"], capture_output=True, check=False).returncode:
        time.sleep(0.2)
    for setting, value in (("timeo.replacement_timeout", "1"), ("initial_login_retry_max", "1")):
        run(*node, "-o", "update", "-n", f"node.session.{setting}", "-v", value)
    return node


def log_in(node: list[str]) -> str:
    """Try until the target can be reached again; returns the disk."""
    while subprocess.run([*node, "--login"], capture_output=True, check=False).returncode:
        time.sleep(0.2)
    while not (found := sorted(Path("/sys/block").glob("sd*"))):
        time.sleep(0.1)
    disk = Path("/dev", found[0].name)
    while not disk.exists() or not int((found[0] / "size").read_text()):
        time.sleep(0.1)
    return str(disk)


def mend_and_look(disk: str) -> None:
    """Have fsck mend the file system, see that nothing is left to mend, and say what each file has."""
    status = subprocess.run(["fsck.ext4", "-fy", disk], capture_output=True, text=True, check=False)
    if status.returncode not in (0, 1):
        say("FAILED fsck.ext4 -fy ends with status", status.returncode, status.stdout, status.stderr)
        raise SystemExit(1)
    run("fsck.ext4", "-fn", disk)
    say("mended", status.returncode)
    run("mount", "-t", "ext4", disk, MOUNT)
    for file in sorted(MOUNT.glob("*/f*")):
        say("found", file.relative_to(MOUNT), hashlib.sha256(file.read_bytes()).hexdigest())


class Writer(threading.Thread):
    """Makes, replaces, changes and removes files of its own folder, until the disk fails."""

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__()
        self._folder = folder
        self._numbers = random.Random(seed)
        self._seed = seed
        self._made = 0

    def run(self) -> None:
        try:
            self._folder.mkdir(exist_ok=True)
            while True:
                files = sorted(file for file in self._folder.iterdir() if file.name[0] == "f")
                if len(files) > MOST_FILES:
                    self._remove(self._numbers.choice(files))
                else:
                    self._numbers.choice((self._make, self._make, self._make_unsynced, self._replace, self._change))()
        except OSError:
            return

    def _write(self, path: Path, synced: bool = True) -> str:
        data = self._numbers.randbytes(self._numbers.choice((10, 512, 4096, 5000, 65536, 100000)))
        fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.write(fd, data)
            os.ftruncate(fd, len(data))
            if self._numbers.random() < 0.5:
                # On the disk, but in its cache, for a while.
                ctypes.CDLL(None).sync_file_range(fd, ctypes.c_int64(0), ctypes.c_int64(0), WRITTEN)
                time.sleep(self._numbers.uniform(0, 0.5))
            if synced:
                os.fsync(fd)
        finally:
            os.close(fd)
        return hashlib.sha256(data).hexdigest()

    def _sync_folder(self) -> None:
        fd = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _new(self) -> Path:
        self._made += 1
        return self._folder / f"f{self._seed}-{self._made}"

    def _short(self, path: Path) -> Path:
        return path.relative_to(MOUNT)

    def _make(self) -> None:
        path = self._new()
        digest = self._write(path)
        self._sync_folder()
        say("synced", self._short(path), digest)

    def _make_unsynced(self) -> None:
        self._write(self._new(), synced=False)

    def _some(self) -> Path | None:
        files = sorted(file for file in self._folder.iterdir() if file.name[0] == "f")
        return self._numbers.choice(files) if files else None

    def _replace(self) -> None:
        """As editors and databases do: a new file under another name, then its name over the old one."""
        path = self._some()
        if path is None:
            return
        new = self._folder / "new"
        digest = self._write(new)
        say("replacing", self._short(path), digest)
        new.rename(path)
        self._sync_folder()
        say("synced", self._short(path), digest)

    def _change(self) -> None:
        path = self._some()
        if path is None:
            return
        say("changing", self._short(path))
        digest = self._write(path)
        self._sync_folder()
        say("synced", self._short(path), digest)

    def _remove(self, path: Path) -> None:
        say("removing", self._short(path))
        path.unlink()
        self._sync_folder()
        say("removed", self._short(path))


class Noise(threading.Thread):
    """Writes past the page cache to a file of which nothing is promised: so there is much to lose at each moment."""

    def __init__(self, path: Path, seed: int) -> None:
        super().__init__()
        self._path = path
        self._numbers = random.Random(seed)

    def run(self) -> None:
        data = mmap.mmap(-1, 1 << 16)
        data.write(self._numbers.randbytes(1 << 16))
        with contextlib.suppress(OSError), open(self._path, "wb", opener=_direct) as file:
            while True:
                os.pwrite(file.fileno(), data, self._numbers.randrange(64) << 16)


def _direct(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_DIRECT, 0o600)


def main(iqn: str, portal: str, rounds: int, seed: int) -> None:
    """Rounds of writing until the power is cut, and a last look."""
    node = start_initiator(iqn, portal)
    for number in range(rounds + 1):
        disk = log_in(node)
        if number == 0:
            say("cache", Path("/sys/block", Path(disk).name, "queue/write_cache").read_text().strip())
            run("mkfs.ext4", "-q", disk)
        mend_and_look(disk)
        say("looked", number)
        if number < rounds:
            writers = [
                *(Writer(MOUNT / f"d{n}", (seed + number) * WRITERS + n) for n in range(WRITERS)),
                Noise(MOUNT / "noise", seed + number),
            ]
            for writer in writers:
                writer.start()
            for writer in writers:
                writer.join()
        run("umount", MOUNT)
        run(*node, "--logout")
        say("down", number)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
