"""Compile the native parts for other systems with zig, which brings a C compiler and the headers of many systems.

    python packaging/cross/build.py [FOLDER [TARGET ...]]

needs the Python packages ``ziglang`` and, for libusdt, ``usdt``; FOLDER is build/cross. It shows that the sources
compile and link there without a warning. They are not run; arm64 is, in tests/provider/test_arm64.py.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "provider")]

import table  # noqa: E402  (these are found only with the path above)
from parts import FLAGS, LIBUSDT, LIMITED_API, NATIVE, Native  # noqa: E402

from iscsitools.provider import building  # noqa: E402
from iscsitools.provider.errors import ProviderError  # noqa: E402

ZIG = [sys.executable, "-m", "ziglang"]


@dataclass(frozen=True)
class Target:
    """A system and processor: zig's name for it, what it calls itself."""

    zig: str
    system: str
    machine: str

    def command(self) -> list[str]:
        """The compiler."""
        return [*ZIG, "cc", "-target", self.zig]

    def linking(self) -> list[str]:
        """Options for a module, whose Python is found when it is loaded."""
        if self.system == "Darwin":
            return ["-dynamiclib", "-undefined", "dynamic_lookup"]
        return ["-shared", "-fPIC"]


TARGETS = {
    f"{system.lower()}-{libc}{'-' if libc else ''}{machine}": Target(zig, system, machine)
    for system, libc, machine, zig in (
        ("Linux", "gnu", "x86_64", "x86_64-linux-gnu.2.17"),
        ("Linux", "gnu", "aarch64", "aarch64-linux-gnu.2.17"),
        ("Linux", "musl", "x86_64", "x86_64-linux-musl"),
        ("Linux", "musl", "aarch64", "aarch64-linux-musl"),
        ("FreeBSD", "", "amd64", "x86_64-freebsd"),
        ("Darwin", "", "x86_64", "x86_64-macos"),
        ("Darwin", "", "arm64", "aarch64-macos"),
    )
}


def build_module(native: Native, target: Target, made: Path) -> Path:
    """Compile a module; its file."""
    (made / "table.h").write_text(table.header())
    # Two modules have one name in two rooms.
    output = made / native.room / f"{native.name.rpartition('.')[2]}.abi3.so"
    output.parent.mkdir(parents=True, exist_ok=True)
    sources = [str(ROOT / name) for name in native.sources()]
    include = [f"-I{made}", f"-I{sysconfig.get_path('include')}"]  # of this Python: all are little-endian and LP64
    run([*target.command(), *FLAGS, "-Werror", f"-DPy_LIMITED_API={LIMITED_API}", *include, *sources,
         *target.linking(), "-o", str(output)])  # fmt: skip
    return output


def build_libusdt(target: Target, made: Path) -> Path:
    """Compile libusdt, with our tracepoints where it has none; its file."""
    output = made / f"{LIBUSDT.rpartition('.')[2]}.so"
    folder = building.package_folder()
    more = [] if target.system in building.OWN_HEADER else [f"-I{building.HEADERS}"]  # the SDK's own is not here
    run([*target.command(), *building.source_arguments(target.system, target.machine, folder, more), "-o", str(output)])
    if building.processor(target.machine) == building.ARM64:  # our part of it, without the others' silence
        others = [f"-isystem{place}" for place in (building.HEADERS, folder)]
        own = building.ARM64_FOLDER / "usdt_probe.c"
        run([*target.command(), *FLAGS, "-Werror", "-fPIC", *others, "-c", str(own), "-o", str(made / "usdt_probe.o")])
    return output


def run(words: list[str]) -> None:
    """Run a compiler; ProviderError with what it printed."""
    done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode or "warning" in done.stderr:
        raise ProviderError(done.stderr.strip() or f"exit status {done.returncode}")


def main() -> int:
    """Compile all for each target and print a line for each file; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "build" / "cross")
    parser.add_argument("target", nargs="*", choices=[[], *TARGETS], help=", ".join(TARGETS))
    arguments = parser.parse_args()
    if importlib.util.find_spec("ziglang") is None:
        parser.exit(1, "zig is not installed: python -m pip install ziglang\n")
    failed = 0
    for name in arguments.target or TARGETS:
        target, made = TARGETS[name], arguments.folder / name
        made.mkdir(parents=True, exist_ok=True)
        for part in (*NATIVE, None):
            title = part.name if part else LIBUSDT
            try:
                output = build_module(part, target, made) if part else build_libusdt(target, made)
                print(f"{name:22} {title:30} {output.stat().st_size:7} bytes", flush=True)
            except ProviderError as error:
                failed = 1
                print(f"{name:22} {title:30} FAILED\n{error}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
