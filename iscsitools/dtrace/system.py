"""What this system's dtrace needs: where it is, where its libraries are, which variant of ours is right now."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from iscsitools.dtrace import variants
from iscsitools.dtrace.variants import LIBRARY, Variant
from iscsitools.errors import RunError

_SYSTEM_PATHS: Final = "/usr/sbin:/sbin"
_FOLDER: Final = Path("/usr/lib/dtrace")
_LINUX_FOLDERS: Final = ("usr/lib/*-linux-gnu/dtrace", "usr/lib64/dtrace", "usr/lib/dtrace")
_STMF: Final = "stmf"


@dataclass(frozen=True, slots=True)
class System:
    """A system with dtrace. ``folder``: its own D libraries, where ours may be installed."""

    name: str
    variant: Variant
    reason: str
    """Why this variant, where there was a choice."""
    folder: Path

    @property
    def installed(self) -> Path:
        """Where the library is or would be."""
        return self.folder / LIBRARY

    @property
    def writable(self) -> bool:
        """Whether the system lets anybody, root included, add a library: macOS protects the folder."""
        return self.variant is not variants.MACOS

    @property
    def prefers_given(self) -> bool:
        """Whether a library found through -L takes the place of an installed one of its name, or collides with it.

        The first on illumos and FreeBSD; the second on DTrace for Linux.
        """
        return self.variant is not variants.LINUX


def this_system(root: Path = Path("/")) -> System:
    """Look at the running system; RunError when it has no DTrace that is known here. ``root``: for tests."""
    name = platform.system()
    folder = root / _FOLDER.relative_to("/")
    match name:
        case "Linux":
            return System(name, variants.LINUX, "", _linux_folder(root))
        case "FreeBSD":
            return System(name, variants.FREEBSD, "", folder)
        case "Darwin":
            return System(name, variants.MACOS, "", folder)
        case "SunOS":
            return System(name, *_illumos_variant(folder), folder)
    raise RunError(f"{name} has no DTrace that is known here")


def _linux_folder(root: Path) -> Path:
    """DTrace for Linux keeps libraries in folders by kernel version, and below them, for all, in the one above."""
    found = [folder for pattern in _LINUX_FOLDERS for folder in sorted(root.glob(pattern)) if any(folder.glob("*/*.d"))]
    return found[0] if found else root / _FOLDER.relative_to("/")


def _illumos_variant(folder: Path) -> tuple[Variant, str]:
    if not (folder / "scsi.d").exists():
        return variants.ILLUMOS, f"{folder} has no scsi.d"
    if module_loaded(_STMF):
        return variants.ILLUMOS_STMF, f"the module {_STMF} is loaded: scsi.d defines {', '.join(variants.SCSI_TYPES)}"
    return variants.ILLUMOS, f"the module {_STMF} is not loaded: scsi.d defines nothing"


def module_loaded(name: str) -> bool:
    """Whether illumos' kernel has loaded a module now, by modinfo(8)."""
    program = shutil.which("modinfo", path=f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_PATHS}")
    if program is None:
        return False
    done = subprocess.run([program], capture_output=True, text=True, errors="replace", check=False)
    return re.search(rf"\s{re.escape(name)} \(", done.stdout) is not None


def find_dtrace() -> str:
    """The path of dtrace; RunError when there is none, or when it is another program of this name."""
    program = shutil.which("dtrace", path=f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_PATHS}")
    linux = platform.system() == "Linux"
    if program is None:
        raise RunError("there is no dtrace on this system", _bpftrace_hint() if linux else ())
    if linux:
        # SystemTap brings a script named dtrace, which only makes header files.
        done = subprocess.run([program, "-V"], capture_output=True, text=True, errors="replace", check=False)
        if re.search(r"\bD \d", done.stdout) is None:
            raise RunError(f"{program} is not DTrace (SystemTap brings a program of that name)", _bpftrace_hint())
    return program


def _bpftrace_hint() -> tuple[str, ...]:
    folder = variants.DSCRIPTS / "bpftrace"
    return (f"the same tools for bpftrace: bpftrace {folder}/iscsiio.bt $(iscsitools probes --path)",)


def collisions(system: System, folders: Sequence[Path] = ()) -> Iterator[tuple[Path, str]]:
    """Types of our variant that a library of the system or of another folder for ``-L`` defines too, and its file."""
    files = [*system.folder.rglob("*.d"), *(file for folder in folders for file in folder.glob("*.d"))]
    for file in sorted(files):
        if file.name == LIBRARY or (file.name == "scsi.d" and system.variant is variants.ILLUMOS):
            continue
        text = file.read_text(errors="replace")
        for name in system.variant.types:
            if re.search(rf"^(?:}}|typedef\b[^;{{]*)\s*{name}\s*;", text, re.M):
                yield file, name
