"""Count the instructions that the engine takes for each form of I/O; see README.md beside this file.

With --probes it also says what the probes add when nobody looks: beside the whole package, a copy without the probes'
call sites is counted, and the package with a provider for tracers. With --watched it says what is added while somebody
looks: by sums as those of top, by those of a page of graphs, with all histograms, and by a ring as record has it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import stream
from cut import copy_package
from forms import BLOCK, FORMS, USUAL, Form
from loadgen import MissingError, build
from tabulate import tabulate

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent / "iscsitools"
DISK_BLOCKS = (1 << 30) // BLOCK
LEAST, MOST = 8, 64
"""I/Os before and while instructions are counted, at the least."""


class Counter:
    """Runs feed.py under callgrind."""

    def __init__(self, arguments: argparse.Namespace, directory: Path) -> None:
        self.few: int = arguments.few
        self.many: int = arguments.many
        self.directory = directory
        # The probes' call sites can be cut out of Python only.
        self.data_path: str = "python" if arguments.probes else arguments.data_path
        self.library = build("counting")

    def feed(self, packages: Path, *more: str, prefix: Sequence[str] = ()) -> str:
        """One run of feed.py; returns what it printed. Raises RuntimeError when it fails."""
        # -S keeps the installed package away; what feed.py needs from outside the copy is on PYTHONPATH.
        command = [*prefix, sys.executable, "-S", "-B", str(HERE / "feed.py"), str(packages), self.data_path, *more]
        env = os.environ | {"PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(
                next((line for line in reversed(done.stderr.splitlines()) if line[:2] != "=="), "feed.py")
            )
        return done.stdout

    def numbers(self, form: Form) -> tuple[int, int]:
        """How many I/Os come before those that are counted, and how many are."""
        scale = max(1, 32 // form.depth)
        return max(LEAST, self.few // scale), max(MOST, self.many // scale)

    def record(self, packages: Path, form: Form) -> list[str]:
        """Record a form; returns feed.py's arguments for it."""
        path = self.directory / f"{FORMS.index(form)}-{packages.name}.stream"
        few, many = self.numbers(form)
        before = stream.record(path, form, few, many, DISK_BLOCKS)
        if form.write and form.unsolicited < form.size:
            self.feed(packages, "learn", str(path))
        return [str(path), str(before), str((few + many) * form.answer_bytes)]

    def per_io(self, packages: Path, forms: Sequence[Form], provider: str = "none") -> list[float]:
        """Instructions for one I/O of each form, as callgrind counts them."""
        streams = [word for form in forms for word in self.record(packages, form)]
        out = self.directory / f"{packages.name}-{provider}"
        prefix = ("valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}.%p")
        printed = self.feed(packages, "count", provider, str(self.library), *streams, prefix=prefix)
        totals = [total_of(Path(f"{out}.{word}")) for word in printed.split()]
        return [total / self.numbers(form)[1] for form, total in zip(forms, totals, strict=True)]


def total_of(out: Path) -> int:
    """The instructions in a callgrind file."""
    for line in out.read_text().splitlines():
        if line.startswith("totals:"):  # "summary:" is zero once counting has stopped
            return int(line.split()[1])
    raise RuntimeError("callgrind wrote no total")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--few", type=int, default=320, help="I/Os before the counted ones (default 320; fewer long ones)"
    )
    parser.add_argument("--many", type=int, default=3200, help="I/Os that are counted (default 3200)")
    parser.add_argument(
        "--forms", default="", help="only these, separated by semicolons (with --probes: 4K read;4K write)"
    )
    parser.add_argument("--list", action="store_true", help="print the names of all forms")
    parser.add_argument("--probes", action="store_true", help="what the probes cost while nobody looks")
    parser.add_argument("--watched", action="store_true", help="what sums and records cost while somebody looks")
    parser.add_argument(
        "--data-path", choices=["auto", "native", "python"], default="auto",
        help="which data path to count (default: the one in C, where it was built)",
    )  # fmt: skip
    parser.add_argument("--package", type=Path, default=PACKAGE, help="another iscsitools directory to measure")
    parser.add_argument("--json", type=Path, help="write the counts to this file")
    parser.add_argument("--before", type=Path, help="compare with the counts in such a file")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    return parser.parse_args()


def wanted_forms(text: str) -> list[Form]:
    """Forms by their whole names. Raises ValueError for an unknown one."""
    names = [part.strip() for part in text.split(";") if part.strip()]
    if unknown := set(names) - {form.name for form in FORMS}:
        raise ValueError(f"no such form: {'; '.join(sorted(unknown))}; --list shows them")
    return [form for form in FORMS if not names or form.name in names]


def count_forms(arguments: argparse.Namespace, forms: list[Form], directory: Path) -> tuple[list[str], list[list[str]]]:
    """Headers and rows: instructions of each form, and beside them those of an earlier run."""
    whole = directory / "whole"
    copy_package(arguments.package, whole, cut=False)
    before: dict[str, float] = json.loads(arguments.before.read_text()) if arguments.before else {}
    counts = dict(zip((form.name for form in forms), Counter(arguments, directory).per_io(whole, forms), strict=True))
    if arguments.json:
        arguments.json.write_text(json.dumps(counts, indent=1) + "\n")
    rows = []
    for form in forms:
        count, old = counts[form.name], before.get(form.name)
        row = [form.name, f"{count:.0f}", f"{count / (form.size / 4096):.0f}"]
        if before:
            row += [f"{old:.0f}", f"{count / old:.3f}"] if old else ["-", "-"]
        rows.append(row)
    headers = ["form", "instructions per I/O", "per 4 KiB"]
    return headers + (["before", "over before"] if before else []), rows


def count_probes(
    arguments: argparse.Namespace, forms: list[Form], directory: Path
) -> tuple[list[str], list[list[str]]]:
    """Headers and rows: with and without call sites, and with a provider."""
    counter = Counter(arguments, directory)
    whole, cut = directory / "whole", directory / "cut"
    copy_package(arguments.package, whole, cut=False)
    sites = copy_package(arguments.package, cut, cut=True)
    if not sites:
        raise RuntimeError("no call site was found to cut out")
    print(f"{sites} call sites cut", file=sys.stderr)
    found = [counter.per_io(whole, forms), counter.per_io(cut, forms), counter.per_io(whole, forms, "auto")]
    rows = [
        [form.name, *(f"{n:.0f}" for n in counts), f"{counts[0] / counts[1]:.4f}", f"{counts[2] / counts[0]:.4f}"]
        for form, *counts in zip(forms, *found, strict=True)
    ]
    return ["form", "instructions per I/O", "without call sites", "with a provider", "call sites", "provider"], rows


def count_watched(
    arguments: argparse.Namespace, forms: list[Form], directory: Path
) -> tuple[list[str], list[list[str]]]:
    """Headers and rows: while nobody looks, with sums, and with records; and the ratios."""
    counter = Counter(arguments, directory)
    whole = directory / "whole"
    copy_package(arguments.package, whole, cut=False)
    found = [counter.per_io(whole, forms, kept) for kept in ("none", "sums", "all-sums", "record")]
    rows = [
        [form.name, *(f"{n:.0f}" for n in counts), *(f"{n / counts[0]:.3f}" for n in counts[1:])]
        for form, *counts in zip(forms, *found, strict=True)
    ]
    watched = ["sums", "all histograms", "record"]
    return ["form", "instructions per I/O", *(f"with {each}" for each in watched), *watched], rows


def main() -> int:
    arguments = parse_arguments()
    if arguments.list:
        print("\n".join(form.name for form in FORMS))
        return 0
    try:
        forms = wanted_forms(arguments.forms or (";".join(USUAL) if arguments.probes or arguments.watched else ""))
        if shutil.which("valgrind") is None:
            print("valgrind is not installed (Debian package valgrind)", file=sys.stderr)
            return 1
        with tempfile.TemporaryDirectory(prefix="it-engine-") as name:
            count = count_probes if arguments.probes else count_watched if arguments.watched else count_forms
            headers, rows = count(arguments, forms, Path(name))
    except (ValueError, RuntimeError, MissingError, OSError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    print(tabulate(rows, headers, tablefmt="github" if arguments.markdown else "simple", disable_numparse=True))
    if arguments.watched:
        print("\nThe last three columns are ratios: of the counts before them to the first.")
    if arguments.probes:
        print("\nThe last two columns are ratios: of the first count to the second, and of the third to the first.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
