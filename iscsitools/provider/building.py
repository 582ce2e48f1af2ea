"""Makes libusdt into a shared library, of what the Python package ``usdt`` installed: at installation or at first use.

The package brings libusdt's sources and headers. Where its own build went well it leaves ``libusdt.a`` beside them,
but with today's gcc never the ``libusdt.so`` that its Python module wants: so that archive is linked here. Where there
is no usable archive (its build needs ``<sys/dtrace.h>``, on FreeBSD the kernel's sources, on macOS a compiler that
still knows i386), the sources are compiled. Either takes a fraction of a second. What is built at first use leaves no
file behind; what a killed process leaves, the next one removes.

libusdt has tracepoints for x86 only; those for arm64 are in ``arm64/``. ``setup.py`` calls this module too, so it needs
nothing but the standard library.
"""

from __future__ import annotations

import ctypes
import fcntl
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from iscsitools.provider import places
from iscsitools.provider.errors import ProviderError

PREFIX: Final = "iscsitools-libusdt-"
_NEW: Final = 5.0
"""Seconds. A younger folder may not have been locked yet."""
HEADERS: Final = Path(__file__).parent / "include"
"""Has ``sys/dtrace.h`` for systems that install none."""
OWN_HEADER: Final = frozenset({"Linux", "FreeBSD"})
SOURCES: Final = ("usdt.c", "usdt_dof.c", "usdt_dof_file.c")
_X86_SOURCES: Final = ("usdt_dof_sections.c", "usdt_probe.c", "usdt_tracepoints_x86_64.s")
ARM64_FOLDER: Final = Path(__file__).parent / "arm64"
_ARM64_SOURCES: Final = ("usdt_dof_sections.c", "usdt_probe.c")
X86_64: Final = "x86_64"
ARM64: Final = "arm64"
_PROCESSORS: Final = {"x86_64": X86_64, "amd64": X86_64, "i86pc": X86_64, "arm64": ARM64, "aarch64": ARM64}


def processor(machine: str = "") -> str:
    """X86_64 or ARM64 for what a system calls its machine (by default this one); ProviderError for any other."""
    machine = machine or platform.machine()
    if machine not in _PROCESSORS or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise ProviderError(f"there are tracepoints for 64-bit x86 and arm64 processors only, not for {machine}")
    return _PROCESSORS[machine]


def package_folder(more: Sequence[str] = ()) -> Path:
    """Where the package ``usdt`` keeps libusdt; ``more`` are places for packages to look in besides.

    It is looked for, not imported: importing it may print or fail.
    """
    spec = importlib.util.find_spec("usdt")
    found = list(spec.submodule_search_locations or []) if spec else []
    for place in (*found, *(f"{each}/usdt" for each in more)):
        folder = Path(place) / "libusdt"
        try:
            if (folder / "usdt_internal.h").is_file():
                return folder
        except OSError as error:
            raise ProviderError(f"python-usdt cannot be read: {folder}: {error.strerror}") from None
    raise ProviderError("python-usdt is not installed (pip install 'iscsitools[dtrace]')")


def compiler() -> list[str]:
    """The C compiler's command: ``$CC`` where that is set, else cc, or gcc."""
    given = os.environ.get("CC", "")
    try:
        named = shlex.split(given)
    except ValueError as error:
        raise ProviderError(f"CC={given} is no command: {error}") from None
    for command in [named] if named else [["cc"], ["gcc"]]:
        if shutil.which(command[0]) is not None:
            return command
    if named:
        raise ProviderError(f"CC={given}: there is no {named[0]}, and libusdt has to be compiled")
    raise ProviderError("no C compiler was found, which is needed to link libusdt (set CC, or install cc)")


@contextmanager
def build_folder() -> Iterator[Path]:
    """A folder to build in and load from; those that killed processes of this user left behind are removed before."""
    folders = list(places.folders())
    if not folders:
        raise ProviderError(f"no folder to load code from: tried {', '.join(places.places())}")
    for left in (left for folder in folders for left in folder.glob(f"{PREFIX}*")):
        with suppress(OSError):  # one in use, or just removed
            found = left.stat()
            if found.st_uid == os.geteuid() and time.time() - found.st_mtime > _NEW:
                with _held(left):
                    shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=folders[0]) as made, _held(Path(made)):
        yield Path(made)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Lock a folder while the block runs; BlockingIOError where another process has."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)


def ways(system: str, machine: str, folder: Path) -> list[list[str]]:
    """The compiler's arguments that make the library: of the archive, which is this machine's; of the sources."""
    sources = source_arguments(system, machine, folder)
    here = (system, processor(machine)) == (platform.system(), processor())
    return [archive_arguments(system, folder), sources] if here and (folder / "libusdt.a").exists() else [sources]


def archive_arguments(system: str, folder: Path) -> list[str]:
    """The compiler's arguments that turn the installed archive, of this machine, into a library."""
    archive = str(folder / "libusdt.a")
    if system == "Darwin":
        return ["-dynamiclib", f"-Wl,-force_load,{archive}"]
    return [*_shared(system), "-Wl,--whole-archive", archive, "-Wl,--no-whole-archive"]


def source_arguments(system: str, machine: str, folder: Path, more: Sequence[str] = ()) -> list[str]:
    """The compiler's arguments that turn the installed sources into a library; ``more`` go before the sources."""
    own = [f"-I{HEADERS}"] if system in OWN_HEADER else []
    sources = [folder / name for name in SOURCES]
    arm64 = processor(machine) == ARM64
    sources += [ARM64_FOLDER / name for name in _ARM64_SOURCES] if arm64 else [folder / name for name in _X86_SOURCES]
    return [*_shared(system), "-O2", "-w", "-D_GNU_SOURCE", *own, f"-I{folder}", *more, *map(str, sources)]


def _shared(system: str) -> list[str]:
    return ["-dynamiclib"] if system == "Darwin" else ["-shared", "-fPIC"]


def build(command: list[str], arguments: list[str], output: Path) -> None:
    """Run the compiler; ProviderError with the first error that it printed."""
    words = [*command, *arguments, "-o", str(output)]
    done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        error = next(
            (line for line in lines if "error" in line.lower() or "cannot" in line), lines[-1] if lines else ""
        )
        raise ProviderError(f"{command[0]}: {error or f'exit status {done.returncode}'}")
