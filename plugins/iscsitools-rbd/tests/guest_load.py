"""A verified load through dm-multipath, in the lab's guest: run there by the guest's own Python, without a package.

``python3 guest_load.py DISK FOLDER``: threads with slots of their own write versions, and check each byte that they
read. ``FOLDER/progress`` has three numbers: answered writes, checked reads, and how many were wrong. A file ``enough``
ends it: all is read once more, and ``FOLDER/ended`` says what was wrong, a line each.
"""

from __future__ import annotations

import mmap
import os
import random
import sys
import threading
import time

_SLOTS = 64
_SIZE = 4096


class Load:
    """What all threads have done."""

    def __init__(self, disk: str, folder: str, threads: int = 3) -> None:
        self._disk = os.open(disk, os.O_RDWR | os.O_DIRECT)
        self._folder = folder
        self._lock = threading.Lock()
        self._writes = self._reads = 0
        self._wrong: list[str] = []
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]

    def run(self) -> None:
        for thread in self._threads:
            thread.start()
        while any(thread.is_alive() for thread in self._threads):
            self._say("progress", f"{self._writes} {self._reads} {len(self._wrong)}")
            time.sleep(0.1)
        self._say("progress", f"{self._writes} {self._reads} {len(self._wrong)}")
        self._say("ended", "".join(f"{line}\n" for line in self._wrong))

    def _say(self, name: str, text: str) -> None:
        part = os.path.join(self._folder, "part")
        with open(part, "w") as file:
            file.write(text)
        os.rename(part, os.path.join(self._folder, name))

    def _run(self, number: int) -> None:
        numbers = random.Random(number)
        versions = [0] * _SLOTS
        buffer = mmap.mmap(-1, _SIZE)  # O_DIRECT wants pages
        enough = os.path.join(self._folder, "enough")
        try:
            while not os.path.exists(enough) and not self._wrong:
                for _ in range(8):
                    slot = numbers.randrange(_SLOTS)
                    if versions[slot] and numbers.random() < 0.5:
                        self._check(number, slot, versions[slot], buffer)
                    else:
                        buffer[:] = _content(number, slot, versions[slot] + 1)
                        done = os.pwrite(self._disk, buffer, (number * _SLOTS + slot) * _SIZE)
                        assert done == _SIZE, f"{done} bytes written"
                        versions[slot] += 1
                        with self._lock:
                            self._writes += 1
            for slot, version in enumerate(versions):
                if version:
                    self._check(number, slot, version, buffer)
        except BaseException as error:
            self._wrong.append(f"{type(error).__name__}: {error}")

    def _check(self, number: int, slot: int, version: int, buffer: mmap.mmap) -> None:
        done = os.preadv(self._disk, [buffer], (number * _SLOTS + slot) * _SIZE)
        assert done == _SIZE, f"{done} bytes read"
        found = buffer[:]
        with self._lock:
            self._reads += 1
        if found != _content(number, slot, version):
            stamps = sorted({found[at : at + 16] for at in range(0, _SIZE, 16)})
            told = "torn" if len(stamps) > 1 else "stale or lost"
            self._wrong.append(f"slot {number}.{slot} should be {version}: {told}, {stamps[:3]}")


def _content(thread: int, slot: int, version: int) -> bytes:
    return b"%02d %04d %08d" % (thread, slot, version) * (_SIZE // 16)


if __name__ == "__main__":
    Load(*sys.argv[1:3]).run()
