"""What two data threads bring without sockets: each serves a recorded stream of 4 KiB commands to a disk.

usage: lanes.py [--rounds N] [--seconds S] [--mib SIZE] [--folder DIR] [--threads N] [--json FILE]

Each form is served by one thread and by several, one after the other in each round. ``us``: processor time of the
threads for a command. ``by CPU``: how many times as much several threads would do as one, had each a processor of its
own for all of the time; ``by clock``: how many times as much they did. Medians of the rounds, with the lowest and the
highest ``by CPU``. What other work on the machine takes shows in ``by clock`` only.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import mmap
import os
import random
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import disk

from iscsitools.backstores.base import Backstore
from iscsitools.backstores.file import FileBackstore
from iscsitools.backstores.null import NullBackstore
from iscsitools.backstores.ram import RamBackstore
from iscsitools.initiator import Opcode, make_bhs
from iscsitools.iscsi.connection.memory import RECEIVE_SIZE, address_of
from iscsitools.probes.firing import Probes
from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.scsi.core.gate import unit_words

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "provider"))

import table  # noqa: E402  (these are found only with the path above)
from parts import FLAGS, LIMITED_API, NATIVE  # noqa: E402

BLOCK, BLOCKS = 512, 8
CHUNK = 1 << 20
COMMANDS, BATCH = 2048, 32
MOST_LEFT = 10000
NAME = "iscsitools.datapath._native"


class Lane(ctypes.Structure):
    """``struct lane``."""

    _fields_ = (
        ("path", ctypes.py_object), ("stream", ctypes.c_void_p), ("length", ctypes.c_uint64),
        ("batch", ctypes.c_uint64), ("first", ctypes.c_uint64), ("commands", ctypes.c_uint64),
        ("cpu", ctypes.c_uint64), ("left", ctypes.c_uint64),
    )  # fmt: skip


class Mapped:
    """Not a backstore: a file's mapping where ``ram`` has its chunks, so that a write is a copy into the page cache."""

    def __init__(self, path: Path, size: int) -> None:
        self.file = path.open("r+b")
        self.map = mmap.mmap(self.file.fileno(), size)
        self.words = array("q", [size, 0])
        begin = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        self.places = array("Q", [begin + at for at in range(0, size, CHUNK)])

    def shortcut(self) -> tuple[Any, ...]:
        """What the data path is offered."""
        return ("ram", self.words, {}, None, self.places)

    def close(self) -> None:
        """Let go of it; the mapping goes with the process."""
        self.file.close()


class Form(NamedTuple):
    """What is served, and how many disks there are: one for all, or one for each thread."""

    name: str
    writes: bool
    store: Callable[[Path, int], Backstore | Mapped]
    apart: bool = False


FORMS = (
    Form("read, file", False, lambda path, _: FileBackstore(str(path))),
    Form("read, ram", False, lambda _, size: RamBackstore(str(size))),
    Form("read, null", False, lambda _, size: NullBackstore(str(size))),
    Form("write, ram", True, lambda _, size: RamBackstore(str(size))),
    Form("write, one file", True, lambda path, _: FileBackstore(str(path))),
    Form("write, a file each", True, lambda path, _: FileBackstore(str(path)), apart=True),
    Form("write, one file's mapping", True, Mapped),
)


def build(folder: Path) -> tuple[ModuleType, ctypes.CDLL]:
    """The data path with ``lanes.c`` in it, compiled as it is for serving."""
    (native,) = (native for native in NATIVE if native.name == NAME)
    (folder / "table.h").write_text(table.header())
    made = folder / "_native.so"
    sources = [str(ROOT / name) for name in native.sources()]
    words = [
        os.environ.get("CC", "cc"), *FLAGS, f"-DPy_LIMITED_API={LIMITED_API}", "-shared", "-fPIC", "-pthread",
        f"-I{sysconfig.get_path('include')}", f"-I{folder}", f"-I{ROOT / 'datapath'}",
        *sources, str(ROOT / "benchmarks/lanes/lanes.c"), "-o", str(made),
    ]  # fmt: skip
    subprocess.run(words, check=True)
    spec = importlib.util.spec_from_file_location(NAME, made)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    import iscsitools.datapath

    iscsitools.datapath._native = module  # type: ignore[attr-defined]
    spec.loader.exec_module(module)
    return module, ctypes.CDLL(str(made))


def stream(writes: bool, size: int, seed: int) -> bytes:
    """Commands at places of their own, by CmdSN from 1 on."""
    rng = random.Random(seed)
    made = []
    for number in range(1, COMMANDS + 1):
        lba = rng.randrange(size // BLOCK // BLOCKS) * BLOCKS
        cdb = bytes([0x2A if writes else 0x28, 0]) + lba.to_bytes(4, "big") + b"\0" + BLOCKS.to_bytes(2, "big") + b"\0"
        length = BLOCK * BLOCKS if writes else 0
        made.append(
            make_bhs(
                Opcode.SCSI_COMMAND, flags=0xA1 if writes else 0xC1, itt=number, cmd_sn=number, edtl=BLOCK * BLOCKS,
                cdb=cdb, data_length=length,
            )
        )  # fmt: skip
        made.append(rng.randbytes(64) * (length // 64))
    return b"".join(made)


@contextmanager
def stores(form: Form, folder: Path, size: int, count: int) -> Iterator[list[Any]]:
    """A disk for each thread, or the same for all."""
    made: list[Any] = []
    for number in range(count if form.apart else 1):
        path = folder / f"disk{number}"
        disk.prepare(path, size)
        store = form.store(path, size)
        if isinstance(store, Backstore):
            store.open()
        if isinstance(store, RamBackstore):
            store.write(0, memoryview(bytes(size)))
        made.append(store)
    yield made if form.apart else made * count
    for store in made:
        store.close()


def lanes_of(module: ModuleType, form: Form, size: int, disks: list[Any], kept: list[object]) -> Any:
    """A lane for each disk; ``kept`` gets what has to live as long."""
    lanes = (Lane * len(disks))()
    words = unit_words(128)
    for number, store in enumerate(disks):
        data = bytearray(stream(form.writes, size, number))
        gate = module.Gate(0, store, BLOCK, size // BLOCK, words)
        gate.read_open = gate.write_open = True
        path = module.DataPath(bytearray(RECEIVE_SIZE), ConnectionInfo(number + 1), Probes(time.monotonic_ns))
        path.window = 128
        path.agree(262144, 262144, 262144)
        path.open_gate(0, gate)
        kept += [data, gate, path]
        lanes[number] = Lane(path, address_of(data), len(data), len(data) // COMMANDS * BATCH, 1)
    return lanes


def run(library: ctypes.CDLL, lanes: Any, count: int, seconds: float) -> tuple[float, float]:
    """Nanoseconds of processor time for a command, and commands in a second."""
    cpus = sorted(os.sched_getaffinity(0))
    where = (ctypes.c_int * count)(*[cpus[number % len(cpus)] for number in range(count)])
    if library.lanes_run(lanes, count, ctypes.c_uint64(int(seconds * 1e9)), where):
        sys.exit("lanes.py: the threads did not start")
    if any(lane.left >= MOST_LEFT for lane in lanes[:count]):
        sys.exit("lanes.py: commands are not served by the data path")
    commands = sum(lane.commands for lane in lanes[:count])
    return sum(lane.cpu for lane in lanes[:count]) / commands, commands / seconds


def measure(module: ModuleType, library: ctypes.CDLL, form: Form, wanted: argparse.Namespace) -> dict[str, Any]:
    """One form by one thread and by several, round by round."""
    kept: list[object] = []
    size = wanted.mib << 20
    with stores(form, wanted.folder, size, wanted.threads) as disks:
        lanes = lanes_of(module, form, size, disks, kept)
        rounds = []
        for _ in range(wanted.rounds):
            one = run(library, lanes, 1, wanted.seconds)
            rounds.append((one, run(library, lanes, wanted.threads, wanted.seconds)))
    by_cpu = sorted(wanted.threads * one[0] / more[0] for one, more in rounds)
    return {
        "form": form.name,
        "one": statistics.median(one[0] for one, _ in rounds) / 1000,
        "several": statistics.median(more[0] for _, more in rounds) / 1000,
        "by_cpu": statistics.median(by_cpu),
        "lowest": by_cpu[0],
        "highest": by_cpu[-1],
        "by_clock": statistics.median(more[1] / one[1] for one, more in rounds),
    }


def main() -> None:
    """Build, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each run")
    parser.add_argument("--mib", type=int, default=64, help="size of each disk")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the disks lie; default: a temporary one")
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=wanted.folder) as made:
        wanted.folder = Path(made)
        module, library = build(wanted.folder)
        if ctypes.PyDLL(str(wanted.folder / "_native.so")).lanes_prepare(wanted.threads):
            sys.exit("lanes.py: too many threads")
        found = []
        print(f"{'form':<28}{'us':>8}{f'us, {wanted.threads}':>9}{'by CPU':>9}{'':>15}{'by clock':>10}")
        for form in FORMS:
            line = measure(module, library, form, wanted)
            found.append(line)
            spread = f"({line['lowest']:.2f}-{line['highest']:.2f})"
            print(
                f"{line['form']:<28}{line['one']:>8.2f}{line['several']:>9.2f}{line['by_cpu']:>9.2f}{spread:>15}"
                f"{line['by_clock']:>10.2f}",
                flush=True,
            )
    if wanted.json:
        wanted.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
