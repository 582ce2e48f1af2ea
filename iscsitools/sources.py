"""What the modules in C were built of, or why they were not; an older build than the sources beside it is noticed.

The two sides of a module call each other by names and layouts that change together. After a change of the sources, by
a pull or an editor, the module that was built before would load, and fail where it is used.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import ModuleType
from typing import Final

_ROOT: Final = Path(__file__).parents[1]
_DIGEST_BYTES: Final = 8


def digest(folder: Path) -> str:
    """What the C sources of a folder are, in hexadecimal: ``setup.py`` has the compiler put it into the module."""
    found = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for path in sorted(folder.glob("*.[ch]")):
        found.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return found.hexdigest()


def outdated(module: ModuleType, room: str, root: Path = _ROOT) -> str:
    """Why a module in C is not to be used, in one line: ``root`` has other sources in the folder ``room``; else empty.

    A module whose builder has told it no digest, or that has no sources beside it, is taken as it is.
    """
    told, folder = getattr(module, "SOURCES", ""), root / room
    if not told or not folder.is_dir() or told == digest(folder):
        return ""
    return f"{module.__name__} was built of other sources than {room}/ has now: install again (make venv)"


def why_not_built(note: Path) -> str:
    """Why there is no module in C, as ``setup.py`` has noted it in ``_native.missing`` beside the module's place."""
    try:
        return note.read_text().strip()
    except OSError:
        return "that needs a C compiler at installation"
