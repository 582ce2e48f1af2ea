"""What the heap keeps of memory that was freed, and when that is given back."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from .harness import eventually, one_target, running, write10

MIB = 1 << 20
FREED_BETWEEN_BLOCKS_THAT_LIVE = """
import resource
from pathlib import Path
from iscsitools.server.allocator import HeapTrim, give_back_freed_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

assert give_back_freed_memory()
heap = HeapTrim()
before = resident()
pairs = [(bytearray(8192), bytearray(600)) for _ in range(6000)]
heap.look(48 << 20)
kept = [small for _, small in pairs]
del pairs
freed = resident()
heap.look(13 << 20)
above = resident()
heap.look(1 << 20)
print(freed - before, above - before, resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what stays of freed memory is the C library's affair")
@pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
def test_small_blocks_that_were_freed_are_given_back_after_a_flood() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FREED_BETWEEN_BLOCKS_THAT_LIVE], capture_output=True, text=True, check=True
    )
    freed, above, left = map(int, done.stdout.split())
    assert freed > 40 * MIB
    assert above > 40 * MIB, "the flood is not over"
    assert left < 35 * MIB, "most of each block's two or three pages"


def test_a_server_looks_after_what_it_held_is_gone(tmp_path: Path) -> None:
    given_back: list[int] = []
    with running(tmp_path, one_target("ram:64M", more="threads = 1")) as target:
        target.server.periodic._heap._trim = given_back.append
        session = target.connect(keys={"InitialR2T": "Yes", "ImmediateData": "No"})
        for _ in range(24):
            session.start_command(write10(0, 2048), write=bytes(MIB), hold_r2ts=True)
        eventually(lambda: target.server.periodic._heap._highest >= 24 * MIB, "a look at what is held")
        assert not given_back
        session.close()
        eventually(lambda: given_back, "the return of it")
        assert given_back == [0]
