"""Python modules that a distribution packages and no index has (``nbd``, ``rados``), from a virtual environment too.

Bindings of C libraries as ``python3-rbd`` lie in a folder of the system's Python that a virtual environment does not
look into. They are extension modules of one Python version, so an environment of that version can use them. Only the
modules that are asked for are found there: whatever else lies in that folder stays out of the environment.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import re
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import Final

from iscsitools.backstores.terms import BackstoreError

_VERSION: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
FOLDERS: Final = (
    "/usr/lib/python3/dist-packages",  # Debian, Ubuntu
    f"/usr/lib64/python{_VERSION}/site-packages",  # Fedora, SUSE
    f"/usr/lib/python{_VERSION}/site-packages",  # Arch, Alpine
)
"""Where distributions put the modules of the system's Python."""


def import_system_module(name: str, *parts: str, package: str, folders: Sequence[str] = FOLDERS) -> ModuleType:
    """Import ``name``, as usual or from where the distribution's package has put it.

    ``parts``: other top-level modules that it imports and that lie beside it. ``package``: what Debian calls the
    package. Raises BackstoreError with a line that says what to install, or which Python the installed one is for.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        finder = _FromFolders((name, *parts), folders)
        sys.meta_path.append(finder)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BackstoreError(_reason(name, (name, *parts), package, folders, error)) from None
    finally:
        sys.meta_path.remove(finder)


class _FromFolders(MetaPathFinder):
    """Finds some top-level modules, and no others, in some folders."""

    def __init__(self, names: Sequence[str], folders: Sequence[str]) -> None:
        self._names = frozenset(names)
        self._folders = folders

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """What the import system asks of each finder; None: not here."""
        if fullname not in self._names:
            return None
        return importlib.machinery.PathFinder.find_spec(fullname, list(self._folders))


def _reason(name: str, parts: Sequence[str], package: str, folders: Sequence[str], error: ImportError) -> str:
    found = sorted({version for folder in folders for version in _versions(Path(folder), parts)})
    if found and _VERSION not in found:
        others = " or ".join(found)
        return (
            f"the module {name} of {package} is for Python {others}, and this is {_VERSION}: "
            f"make the virtual environment with that one, as python{found[-1]} -m venv"
        )
    if found:
        return f"the module {name} of {package} cannot be loaded: {error}"
    return f"the module {name} is missing: install the distribution's package {package} (apt install {package})"


def _versions(folder: Path, names: Sequence[str]) -> list[str]:
    """The Python versions that the folder has these extension modules for, as ``3.11``."""
    versions = []
    for name in names:
        for file in folder.glob(f"{name}.cpython-*.so"):
            if match := re.search(r"\.cpython-(\d)(\d+)-", file.name):
                versions.append(f"{match[1]}.{match[2]}")
    return versions
