"""What somebody who looks costs a data thread, in instructions: ``python benchmarks/watched_threads.py``.

4 KiB reads and writes of one connection, 32 in one readable event, served by a data thread under callgrind, which
counts what that thread executes: with nobody who looks, with sums as ``top`` has them, with a ring as ``record`` has
it, and with both. The costs of a start are in both of two runs of different lengths, and their difference is divided by
the commands between. Needs valgrind.
"""

from __future__ import annotations

import argparse
import mmap
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
FEW, MANY, DEPTH = 320, 1600, 32
WATCHERS = ("nobody", "top", "record", "both")


def serve(watcher: str, count: int) -> None:
    """In the process that is counted: have a data thread serve so many commands."""
    sys.path.insert(0, str(HERE.parent / "tests"))
    from datapath.bench import Wire

    from iscsitools.backstores.ram import RamBackstore
    from iscsitools.datapath import _native
    from iscsitools.probes.table import ALL_MASK
    from iscsitools.trace.protocol import HEADER
    from iscsitools.trace.record import SIZE
    from iscsitools.trace.selection import Selection
    from iscsitools.trace.sums.native import NativeSums

    store = RamBackstore(str(1 << 20))
    store.write(0, memoryview(bytes(1 << 20)))
    wire, thread, members = Wire(_native, store), _native.DataThread(), []
    sums = NativeSums(Selection(), busy=True)
    if watcher in ("top", "both"):
        members.append((sums.mask, sums.native(_native, None, print)))
    if watcher in ("record", "both"):
        memory, page = mmap.mmap(-1, HEADER + 65536 * SIZE), mmap.mmap(-1, mmap.PAGESIZE)
        ring = _native.RingTracer(
            memory, HEADER, lambda conn: True, None, print, None, None, 65536, page, 0, True
        )  # fmt: skip
        members.append((ALL_MASK, ring))
    wire.tracers = _native.Tracers(None, tuple(members)) if members else None
    wire.lend(thread)
    for _ in range(count // DEPTH):
        wire.ours.sendall(b"".join(wire.write(8, bytes(4096)) if n % 2 else wire.read(0, 8) for n in range(DEPTH)))
        wire.answers(DEPTH)
    wire.take(thread.recall(wire.path))
    thread.end()


def instructions(watcher: str, count: int, directory: Path) -> int:
    """What the data thread executes; the process has two threads."""
    out = directory / f"{watcher}-{count}-{time.monotonic_ns()}"
    command = ["valgrind", "--tool=callgrind", "--separate-threads=yes", f"--callgrind-out-file={out}"]
    command += [sys.executable, "-B", __file__, "--serve", watcher, "--commands", str(count)]
    subprocess.run(command, check=True, capture_output=True)
    (found,) = re.findall(r"^(?:summary|totals): (\d+)", out.with_name(out.name + "-02").read_text(), re.MULTILINE)[:1]
    return int(found)


def main() -> int:
    """Print a line for each who looks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--serve", choices=WATCHERS, help=argparse.SUPPRESS)
    parser.add_argument("--commands", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.commands)
        return 0
    alone = 0.0
    with tempfile.TemporaryDirectory(prefix="it-watched-") as name:
        for watcher in WATCHERS:
            few, many = (instructions(watcher, count, Path(name)) for count in (FEW, MANY))
            each = (many - few) / (MANY - FEW)
            alone = alone or each
            print(f"{watcher:8} {each:8.0f} instructions a command  {each / alone:.2f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
