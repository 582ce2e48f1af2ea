"""libusdt, as a library that ctypes can load: made at first use of what the Python package ``usdt`` installed.

The package brings libusdt's sources and headers. Where its own build went well it leaves ``libusdt.a`` beside them,
but with today's gcc never the ``libusdt.so`` that its Python module wants: so that archive is linked here. Where there
is no usable archive (its build needs ``<sys/dtrace.h>``, on FreeBSD the kernel's sources, on macOS a compiler that
still knows i386), the sources are compiled. Either takes a fraction of a second and leaves no file behind; what a
killed process leaves, the next one removes.
"""

from __future__ import annotations

import ctypes
import fcntl
import importlib.util
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Final

from iscsitools.provider.errors import ProviderError

PREFIX: Final = "iscsitools-libusdt-"
_NEW: Final = 5.0
"""Seconds. A younger folder may not have been locked yet."""
HEADERS: Final = Path(__file__).parent / "include"
"""Has ``sys/dtrace.h`` for systems that install none."""
OWN_HEADER: Final = frozenset({"Linux", "FreeBSD"})
SOURCES: Final = (
    "usdt.c",
    "usdt_dof.c",
    "usdt_dof_file.c",
    "usdt_dof_sections.c",
    "usdt_probe.c",
    "usdt_tracepoints_x86_64.s",
)


class Section(ctypes.Structure):
    """``usdt_dof_section_t`` of usdt_internal.h."""

    _fields_ = (
        ("index", c_uint32),
        ("type", c_uint32),
        ("flags", c_uint32),
        ("align", c_uint32),
        ("offset", c_uint64),
        ("size", c_uint64),
        ("entsize", c_uint32),
        ("pad", c_size_t),
        ("next", c_void_p),
        ("data", c_void_p),
    )


class StringTable(ctypes.Structure):
    """``usdt_strtab_t``."""

    _fields_ = (*Section._fields_[:8], ("strindex", c_int), ("data", c_void_p))


class DofFile(ctypes.Structure):
    """``usdt_dof_file_t``."""

    _fields_ = (("dof", c_void_p), ("gen", c_int), ("size", c_size_t), ("sections", c_void_p))


class Tracepoint(ctypes.Structure):
    """``usdt_probe_t``: the addresses of a probe's is-enabled function and of its tracepoint."""

    _fields_ = (("isenabled_addr", c_void_p), ("probe_addr", c_void_p))


def package_folder() -> Path:
    """Where the package ``usdt`` keeps libusdt. It is looked for, not imported: importing it may print or fail."""
    spec = importlib.util.find_spec("usdt")
    for place in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(place) / "libusdt"
        try:
            if (folder / "usdt_internal.h").is_file():
                return folder
        except OSError as error:
            raise ProviderError(f"python-usdt cannot be read: {folder}: {error.strerror}") from None
    raise ProviderError("python-usdt is not installed (pip install 'iscsitools[dtrace]')")


def compiler() -> list[str]:
    """The C compiler's command: ``$CC``, or cc, or gcc."""
    given = os.environ.get("CC", "")
    try:
        commands = [shlex.split(given), ["cc"], ["gcc"]]
    except ValueError as error:
        raise ProviderError(f"CC={given} is no command: {error}") from None
    for command in commands:
        if command and shutil.which(command[0]) is not None:
            return command
    raise ProviderError("no C compiler was found, which is needed to link libusdt (set CC, or install cc)")


def load(system: str) -> ctypes.CDLL:
    """Link or compile libusdt for this machine, load it, and declare its functions."""
    folder = package_folder()
    command = compiler()
    with build_folder() as made:
        output = made / "libusdt.so"
        failures = []
        for arguments in (archive_arguments(system, folder), source_arguments(system, folder)):
            try:
                return build(command, arguments, output)
            except ProviderError as error:
                failures.append(str(error))
    raise ProviderError(f"libusdt cannot be built: {'; '.join(failures)}")


@contextmanager
def build_folder() -> Iterator[Path]:
    """A folder to build in; those that killed processes of this user left behind are removed before."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # one in use, or just removed
            found = left.stat()
            if found.st_uid == os.geteuid() and time.time() - found.st_mtime > _NEW:
                with _held(left):
                    shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=PREFIX) as made, _held(Path(made)):
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


def archive_arguments(system: str, folder: Path) -> list[str]:
    """The compiler's arguments that turn the installed archive into a library."""
    archive = str(folder / "libusdt.a")
    if system == "Darwin":
        return ["-dynamiclib", f"-Wl,-force_load,{archive}"]
    return [*_shared(system), "-Wl,--whole-archive", archive, "-Wl,--no-whole-archive"]


def source_arguments(system: str, folder: Path, more: Sequence[str] = ()) -> list[str]:
    """The compiler's arguments that turn the installed sources into a library; ``more`` go before the sources."""
    own = [f"-I{HEADERS}"] if system in OWN_HEADER else []
    sources = [str(folder / name) for name in SOURCES]
    return [*_shared(system), "-O2", "-w", "-D_GNU_SOURCE", *own, f"-I{folder}", *more, *sources]


def _shared(system: str) -> list[str]:
    return ["-dynamiclib"] if system == "Darwin" else ["-shared", "-fPIC", "-m64"]


def build(command: list[str], arguments: list[str], output: Path) -> ctypes.CDLL:
    """Run the compiler, load what it made, and declare its functions; ProviderError with the first error it printed."""
    words = [*command, *arguments, "-o", str(output)]
    done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        error = next(
            (line for line in lines if "error" in line.lower() or "cannot" in line), lines[-1] if lines else ""
        )
        raise ProviderError(f"{command[0]}: {error or f'exit status {done.returncode}'}")
    try:
        library = ctypes.CDLL(str(output), use_errno=True)
    except OSError as error:
        raise ProviderError(f"the library made of libusdt does not load: {error}") from error
    return _declare(library)


def _declare(library: ctypes.CDLL) -> ctypes.CDLL:
    """Set the argument and result types of the functions that are called; ProviderError when one is not there."""
    section, table, file, point = POINTER(Section), POINTER(StringTable), POINTER(DofFile), POINTER(Tracepoint)
    for name, result, *arguments in (
        ("usdt_create_provider", c_void_p, c_char_p, c_char_p),
        ("usdt_provider_free", None, c_void_p),
        ("usdt_create_tracepoints", c_int, point),
        ("usdt_is_enabled", c_int, point),
        ("usdt_fire_probe", None, point, c_size_t, c_void_p),
        ("usdt_probe_offset", c_uint32, point, c_void_p, c_uint8),
        ("usdt_is_enabled_offset", c_uint32, point, c_void_p),
        ("usdt_strtab_init", c_int, table, c_uint32),
        ("usdt_strtab_add", c_uint32, table, c_char_p),
        ("usdt_dof_section_init", c_int, section, c_uint32, c_uint32),
        ("usdt_dof_section_add_data", c_int, section, c_char_p, c_size_t),
        ("usdt_dof_section_free", None, section),
        ("usdt_dof_provider_sect", c_int, section, c_void_p),
        ("usdt_dof_file_init", file, c_void_p, c_size_t),
        ("usdt_dof_file_append_section", None, file, section),
        ("usdt_dof_file_generate", None, file, table),
        ("usdt_dof_file_load", c_int, file, c_char_p),
        ("usdt_dof_file_unload", c_int, file),
        ("usdt_dof_file_free", None, file),
    ):
        function = getattr(library, name, None)
        if function is None:
            raise ProviderError(f"the library made of libusdt has no {name}")
        function.restype = result
        function.argtypes = arguments
    return library
