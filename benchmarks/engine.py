"""Count the instructions that the engine takes for an I/O, and what the probes add when nobody looks.

Two things are compared with it: a copy without the probes' call sites, and one without a provider for tracers.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import stream
from cut import copy_package
from tabulate import tabulate

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent / "iscsitools"
LOADS = ("read", "write")
DISK_BLOCKS = (1 << 30) // 512


def instructions(packages: Path, load: str, provider: str, count: int, depth: int, directory: Path) -> int:
    """Instructions of one whole run of feed.py, counted by callgrind."""
    recorded = directory / f"{load}-{count}-{depth}.stream"
    write = load == "write"
    if not recorded.exists():
        stream.record(recorded, write, count, depth, DISK_BLOCKS)
    answers = count * (stream.BHS if write else stream.BHS + stream.SIZE)
    out = directory / f"{load}-{count}.callgrind"
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", sys.executable, "-S", "-B"]
    command += [str(HERE / "feed.py"), str(packages), str(recorded), str(answers), provider]
    # -S keeps the installed package away; what feed.py needs from outside the copy is on PYTHONPATH.
    env = os.environ | {"PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    for line in out.read_text().splitlines():
        if line.startswith(("summary:", "totals:")):
            return int(line.split()[1])
    raise RuntimeError("callgrind wrote no total")


def per_io(packages: Path, load: str, provider: str, few: int, many: int, depth: int, directory: Path) -> float:
    """Instructions for one I/O: the difference of a long and a short run, so that start and login drop out."""
    short = instructions(packages, load, provider, few, depth, directory)
    return (instructions(packages, load, provider, many, depth, directory) - short) / (many - few)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--few", type=int, default=640, help="I/Os of the short run (default 640)")
    parser.add_argument("--many", type=int, default=12800, help="I/Os of the long run (default 12800)")
    parser.add_argument("--depth", type=int, default=32, help="commands in one readable event (default 32)")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    if shutil.which("valgrind") is None:
        print("valgrind is not installed (Debian package valgrind)", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="it-engine-") as name:
        directory = Path(name)
        whole, cut = directory / "whole", directory / "cut"
        copy_package(PACKAGE, whole, cut=False)
        sites = copy_package(PACKAGE, cut, cut=True)
        if not sites:
            print("no call site was found to cut out", file=sys.stderr)
            return 1
        rows = []
        for load in LOADS:
            found = [
                per_io(packages, load, provider, arguments.few, arguments.many, arguments.depth, directory)
                for packages, provider in ((whole, "none"), (cut, "none"), (whole, "auto"))
            ]
            rows.append([f"4K {load}", *(f"{count:.0f}" for count in found)])
            rows[-1] += [f"{found[0] / found[1]:.4f}", f"{found[2] / found[0]:.4f}"]
    headers = ("load", "instructions per I/O", "without call sites", "with a provider", "call sites", "provider")
    print(tabulate(rows, headers, tablefmt="github" if arguments.markdown else "simple", disable_numparse=True))
    print(f"\nQD{arguments.depth}, null disk, no sockets; {sites} call sites cut; nobody attached.")
    print("The last two columns are ratios: of the first count to the second, and of the third to the first.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
