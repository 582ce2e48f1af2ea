"""What two data threads bring without sockets: each serves a recorded stream of 4 KiB commands to a disk.

usage: lanes.py [--rounds N] [--seconds S] [--mib SIZE] [--folder DIR] [--threads N] [--forms TEXT] [--json FILE]

Each form is served by one thread and by several, one after the other in each round; and so by threads that only move
the same bytes from and to the same places (``lanes/bare.c``). ``us``: processor time of a thread for a command, while
no thread had to wait for its processor (``together.py``), so that other work on the machine may be there. ``ratio``:
how many times as much several threads do as one; ``ceiling``: the same of the bare loop; ``of it``: ours over that.
Medians of the rounds, with the lowest and the highest. The last row counts in a register: what processors are here.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from lane_forms import COUNT, FORMS, PREAD, PWRITE, Disk, Form, disks_of
from together import Stretch, together

from iscsitools.backstores import shortcut
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
COMMANDS = 2048
STRETCH, STRETCH_OF_CALLS = 1024, 256
"""Commands: enough that what is noted of them is little beside, few enough that they are done between disturbances."""
FEWEST, MOST_RUNS = 20, 400
MOST_LEFT = 10000
RATIOS = ("ratio", "ceiling", "of it")
NAME = "iscsitools.datapath._native"
SOURCES = ("lanes.c", "bare.c")


class StretchNoted(ctypes.Structure):
    """``struct stretch``."""

    _fields_ = tuple((name, ctypes.c_uint64) for name in Stretch._fields)


def stretch_of(noted: StretchNoted) -> Stretch:
    """The same in Python's numbers."""
    return Stretch(*(getattr(noted, name) for name in Stretch._fields))


class Lane(ctypes.Structure):
    """``struct lane``."""

    _fields_ = (
        ("path", ctypes.py_object), ("headers", ctypes.c_uint64), ("count", ctypes.c_uint64),
        ("stretch", ctypes.c_uint64), ("segment", ctypes.c_uint64), ("places", ctypes.c_uint64), ("fd", ctypes.c_int64),
        ("bare", ctypes.c_uint64), ("stretches", ctypes.POINTER(StretchNoted)), ("noted", ctypes.c_uint64),
        ("left", ctypes.c_uint64),
    )  # fmt: skip


def build(folder: Path) -> tuple[ModuleType, ctypes.CDLL]:
    """The data path with ``lanes.c`` in it, compiled as it is for serving."""
    (native,) = (native for native in NATIVE if native.name == NAME)
    (folder / "table.h").write_text(table.header())
    made = folder / "_native.so"
    sources = [str(ROOT / name) for name in native.sources()]
    words = [
        os.environ.get("CC", "cc"), *FLAGS, f"-DPy_LIMITED_API={LIMITED_API}", "-shared", "-fPIC", "-pthread",
        f"-I{sysconfig.get_path('include')}", f"-I{folder}", f"-I{ROOT / 'datapath'}",
        *sources, *(str(ROOT / "benchmarks/lanes" / name) for name in SOURCES), "-o", str(made),
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


def headers(writes: bool, size: int, seed: int) -> bytes:
    """Commands at places of their own, by CmdSN from 1 on."""
    rng = random.Random(seed)
    made = []
    for number in range(1, COMMANDS + 1):
        lba = rng.randrange(size // BLOCK // BLOCKS) * BLOCKS
        cdb = bytes([0x2A if writes else 0x28, 0]) + lba.to_bytes(4, "big") + b"\0" + BLOCKS.to_bytes(2, "big") + b"\0"
        made.append(
            make_bhs(
                Opcode.SCSI_COMMAND, flags=0xA1 if writes else 0xC1, itt=number, cmd_sn=number, edtl=BLOCK * BLOCKS,
                cdb=cdb, data_length=BLOCK * BLOCKS if writes else 0,
            )
        )  # fmt: skip
    return b"".join(made)


def lanes_of(module: ModuleType, form: Form, size: int, disks: list[Disk], kept: list[object]) -> Any:
    """A lane for each disk; ``kept`` gets what has to live as long."""
    lanes = (Lane * len(disks))()
    words = unit_words(128)
    stretch = STRETCH_OF_CALLS if form.bare in (PREAD, PWRITE) else STRETCH
    for number, one in enumerate(disks):
        data = bytearray(headers(form.writes, size, number))
        gate = module.Gate(0, one.store, BLOCK, size // BLOCK, words)
        gate.read_open = gate.write_open = True
        path = module.DataPath(bytearray(RECEIVE_SIZE), ConnectionInfo(number + 1), Probes(time.monotonic_ns))
        path.window = 128
        path.agree(262144, 262144, 262144)
        path.open_gate(0, gate)
        kept += [data, gate, path]
        segment = BLOCK * BLOCKS if form.writes else 0
        lanes[number] = Lane(
            path, address_of(data), COMMANDS, stretch, segment, one.places, one.file.fileno(), form.bare
        )
    return lanes


def run(library: ctypes.CDLL, lanes: Any, count: int, seconds: float, bare: bool) -> float:
    """Nanoseconds of processor time for a command by so many threads, each on a processor, while none was disturbed."""
    cpus = sorted(os.sched_getaffinity(0))
    where = (ctypes.c_int * count)(*[cpus[number % len(cpus)] for number in range(count)])
    found: list[int] = []
    for _ in range(MOST_RUNS):
        library.lanes_run(lanes, count, ctypes.c_uint64(int(seconds * 1e9)), where, bare)
        if any(lane.left >= MOST_LEFT for lane in lanes[:count]):
            sys.exit("lanes.py: commands are not served by the data path")
        found += together([[stretch_of(one) for one in lane.stretches[: lane.noted]] for lane in lanes[:count]])
        if len(found) >= FEWEST:
            return statistics.median(found) / lanes[0].stretch
    sys.exit("lanes.py: there is too much other work")


def spread(values: list[float]) -> list[float]:
    """The median, the lowest and the highest."""
    return [statistics.median(values), min(values), max(values)]


def measure(module: ModuleType, library: ctypes.CDLL, form: Form, wanted: argparse.Namespace) -> dict[str, Any]:
    """One form by one thread and by several, ours and the bare loop, round by round."""
    kept: list[object] = []
    size = wanted.mib << 20
    rounds = []
    with disks_of(form, wanted.folder, size, wanted.threads) as disks:
        lanes = lanes_of(module, form, size, disks, kept)
        for _ in range(wanted.rounds):
            rounds.append(
                [
                    run(library, lanes, count, wanted.seconds, bare)
                    for bare in (form.bare == COUNT, True)
                    for count in (1, wanted.threads)
                ]
            )
    ratios = [wanted.threads * one / several for one, several, _, _ in rounds]
    ceilings = [wanted.threads * one / several for _, _, one, several in rounds]
    one, several, bare, _ = (statistics.median(costs) / 1000 for costs in zip(*rounds, strict=True))
    return {
        "form": form.name,
        "one": one,
        "several": several,
        "bare": bare,
        "ratio": spread(ratios),
        "ceiling": spread(ceilings),
        "of it": spread([ratio / ceiling for ratio, ceiling in zip(ratios, ceilings, strict=True)]),
    }


def row(*cells: str) -> str:
    """Of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def cells(line: dict[str, Any]) -> list[str]:
    """What is printed of a form."""
    costs = [f"{line[name]:.3f}" for name in ("one", "several", "bare")]
    return [line["form"], *costs, *("{:.2f} ({:.2f}-{:.2f})".format(*line[name]) for name in RATIOS)]


def main() -> None:
    """Build, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=0.05, help="of each run, which goes on until it has enough")
    parser.add_argument("--mib", type=int, default=64, help="size of each disk")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the disks lie; default: a temporary one")
    parser.add_argument("--forms", default="", help="only those with one of these in their name, parted by ;")
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=wanted.folder) as made:
        wanted.folder = Path(made)
        module, library = build(wanted.folder)
        if ctypes.PyDLL(str(wanted.folder / "_native.so")).lanes_prepare(wanted.threads):
            sys.exit("lanes.py: too many threads")
        shortcut.share(module.settle, wanted.threads)
        found = []
        print(row("form", "one, us", f"{wanted.threads}, us", "bare, us", *RATIOS))
        print(row(*["---"] * 7))
        for form in FORMS:
            if any(part in form.name for part in wanted.forms.split(";")):
                found.append(measure(module, library, form, wanted))
                print(row(*cells(found[-1])), flush=True)
    if wanted.json:
        wanted.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
