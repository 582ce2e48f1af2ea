"""Build the source distribution and the wheels for Linux: x86-64 and aarch64, glibc 2.17 and later, and musl.

    python packaging/wheels/build.py [FOLDER [TARGET ...]]

FOLDER is dist. zig is the C compiler (``ziglang``); ``build``, ``twine``, ``pyelftools`` and ``usdt`` have to be
installed too (``pip install 'iscsitools[pack,dtrace]'``). Every wheel is looked into before it is shown: what has to be
in it, which libraries and which of their versions its modules ask for.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from elftools.elf.elffile import ELFFile

ROOT: Final = Path(__file__).resolve().parents[2]
PROVIDER: Final = "iscsitools/provider"
WANTED: Final = (
    "iscsitools/datapath/_native.abi3.so",
    f"{PROVIDER}/_native.abi3.so", f"{PROVIDER}/_libusdt.so", f"{PROVIDER}/_libusdt.LICENCE",
    "/share/man/man1/iscsitools-top.1", "/share/man/man5/iscsitools.toml.5",
    "/share/bash-completion/completions/iscsitools", "/licenses/LICENSE", "iscsitools/dscripts/iscsiio.d",
)  # fmt: skip
"""How the names of files that no wheel may lack end."""
LIBRARIES: Final = {"gnu": {"libc.so.6", "libpthread.so.0", "libdl.so.2"}, "musl": {"libc.so"}}
NEWEST: Final = (2, 17)
MUSL_LACKS: Final = frozenset({"preadv2", "pwritev2", "statx"})
"""Functions that musl has only since 1.2.5: it has no versions of symbols, and zig's is newer than many systems'."""
MACHINES: Final = {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64"}


@dataclass(frozen=True)
class Target:
    """What a wheel is for."""

    machine: str
    libc: str

    @property
    def zig(self) -> str:
        """How zig calls it."""
        return f"{self.machine}-linux-{'gnu.2.17' if self.libc == 'gnu' else 'musl'}"

    @property
    def platform(self) -> str:
        """How pip calls it."""
        return f"{'manylinux_2_17' if self.libc == 'gnu' else 'musllinux_1_2'}_{self.machine}"


TARGETS: Final = {f"{libc}-{machine}": Target(machine, libc) for libc in LIBRARIES for machine in MACHINES}


class WheelError(Exception):
    """A wheel that must not be given to anybody; the text says why."""


def build_wheel(target: Target, folder: Path) -> Path:
    """Build one; its file. What another target left in build/ must not get into it."""
    for old in (ROOT / "build").glob("*linux-*"):
        shutil.rmtree(old)
    shutil.rmtree(ROOT / "build" / "lib", ignore_errors=True)
    zig = f"{sys.executable} -m ziglang cc -target {target.zig}"
    environment = os.environ | {
        "CC": zig,
        "LDSHARED": f"{zig} -shared",
        "_PYTHON_HOST_PLATFORM": f"linux-{target.machine}",
        "ISCSITOOLS_REQUIRE_NATIVE": "1",
    }
    backend(["--wheel", f"-C--build-option=--plat-name={target.platform}"], folder, environment)
    (made,) = folder.glob(f"iscsitools-*-{target.platform}.whl")
    return made


def backend(arguments: list[str], folder: Path, environment: dict[str, str]) -> None:
    """Run ``build``; WheelError with the end of what it said."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), *arguments, str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=environment)
    if done.returncode:
        raise WheelError("\n".join((done.stdout + done.stderr).splitlines()[-15:]))


def check(wheel: Path, target: Target) -> str:
    """Look into a wheel; a line about it. Raises WheelError."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        for wanted in WANTED:
            if not any(name.endswith(wanted) for name in names):
                raise WheelError(f"{wheel.name} has no {wanted}")
        modules = [name for name in names if name.endswith(".so")]
        newest = max(_check_module(name, archive.read(name), target) for name in modules)
    needs = f"GLIBC {newest[0]}.{newest[1]}" if target.libc == "gnu" else "musl"
    return f"{wheel.name}: {wheel.stat().st_size:,} bytes, {len(modules)} modules for {needs}"


def _check_module(name: str, content: bytes, target: Target) -> tuple[int, int]:
    """The newest version of glibc that a module asks for."""
    elf = ELFFile(io.BytesIO(content))
    if elf["e_machine"] != MACHINES[target.machine]:
        raise WheelError(f"{name} is for {elf['e_machine']}")
    needed = {tag.needed for tag in elf.get_section_by_name(".dynamic").iter_tags("DT_NEEDED")}
    if other := needed - LIBRARIES[target.libc]:
        raise WheelError(f"{name} needs {', '.join(sorted(other))}")
    symbols = {symbol.name for symbol in elf.get_section_by_name(".dynsym").iter_symbols()}
    if target.libc == "musl" and (new := symbols & MUSL_LACKS):
        raise WheelError(f"{name} asks for {', '.join(sorted(new))}, which older musl has not")
    versions = elf.get_section_by_name(".gnu.version_r")
    asked = [version.name for _, wanted in versions.iter_versions() for version in wanted] if versions else []
    numbers = [(int(found[1]), int(found[2])) for found in map(re.compile(r"GLIBC_(\d+)\.(\d+)").match, asked) if found]
    if max(numbers, default=(0, 0)) > NEWEST:
        raise WheelError(f"{name} asks for GLIBC {max(numbers)}")
    return max(numbers, default=(0, 0))


def main() -> int:
    """Build, check and say what was made; 1 with a reason when one cannot be given away."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "dist")
    parser.add_argument("target", nargs="*", choices=[[], "sdist", *TARGETS], help=", ".join(["sdist", *TARGETS]))
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    made = []
    try:
        for name in arguments.target or ["sdist", *TARGETS]:
            if name == "sdist":
                backend(["--sdist"], arguments.folder, dict(os.environ))
                made += list(arguments.folder.glob("iscsitools-*.tar.gz"))
                print(f"{made[-1].name}: {made[-1].stat().st_size:,} bytes", flush=True)
            else:
                made.append(build_wheel(TARGETS[name], arguments.folder))
                print(check(made[-1], TARGETS[name]), flush=True)
        subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *map(str, made)], check=True)
    except (WheelError, subprocess.CalledProcessError) as error:
        print(f"wheels: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
