"""Installing the D library, taking it away, and running a script with it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from iscsitools.dtrace.system import System, collisions
from iscsitools.dtrace.variants import DSCRIPTS, OWN_TYPES
from iscsitools.errors import RunError, UsageError


def install(system: System) -> str:
    """Put the library where the system's dtrace looks; returns what was done, in a line."""
    if not system.writable:
        return f"{system.folder} cannot be added to on this system: use dtrace -L {system.variant.folder} -s SCRIPT"
    theirs = system_library(system)
    if theirs is not None:
        return f"{theirs} has the iscsi provider's types and translators: nothing to install"
    for file, name in collisions(system):
        raise RunError(f"{file} defines {name} too: dtrace would refuse to start with both")
    text = system.variant.file.read_text()
    if not system.folder.is_dir():
        raise RunError(f"{system.folder} does not exist: is DTrace installed?")
    try:
        system.installed.write_text(text)
        system.installed.chmod(0o644)
    except OSError as error:
        raise RunError(f"{system.installed}: {error.strerror} (this needs root)") from None
    why = f" ({system.reason})" if system.reason else ""
    return f"installed {system.installed}, the variant {system.variant.name}{why}"


def uninstall(system: System) -> str:
    """Remove what :func:`install` made; returns what was done."""
    try:
        system.installed.unlink()
    except FileNotFoundError:
        return f"{system.installed} is not there"
    except OSError as error:
        raise RunError(f"{system.installed}: {error.strerror} (this needs root)") from None
    return f"removed {system.installed}"


def system_library(system: System) -> Path | None:
    """The file of the system's own that defines what the target passes, as Solaris had: our library is not needed."""
    return next((file for file, name in collisions(system) if name == OWN_TYPES[0]), None)


def library_arguments(system: System, folders: Sequence[Path] = ()) -> list[str]:
    """``-L`` and the folder of the right variant; nothing where the system has what is needed.

    ``folders``: others that dtrace reads libraries from. RunError when one of those, or of the system's own, defines
    what ours does: dtrace would end with an error that names neither.
    """
    if system_library(system) is not None:
        return []
    for file, name in collisions(system, folders):
        raise RunError(f"{file} defines {name}, as the D library of iscsitools does: dtrace takes no two of a name")
    given = ["-L", str(system.variant.folder)]
    try:
        installed = system.installed.read_text()
    except OSError:
        return given
    if installed == system.variant.file.read_text():
        return []
    if not system.prefers_given:
        raise RunError(
            f"{system.installed} is of another version of iscsitools, and dtrace takes no second one",
            ["run: iscsitools dtrace install (or iscsitools dtrace install --uninstall)"],
        )
    return given


def scripts() -> dict[str, tuple[Path, str]]:
    """The D scripts by name: their file, and what they do, from the first line of their header."""
    found = {}
    for file in sorted(DSCRIPTS.glob("*.d")):
        about = re.search(rf"^ \* {re.escape(file.name)} - (.*)$", file.read_text(), re.M)
        found[file.stem] = (file, about[1] if about else "")
    return found


def script_file(name: str) -> Path:
    """The file of a script by its name, or one of the user's own by its path."""
    known = scripts()
    if name.removesuffix(".d") in known and "/" not in name:
        return known[name.removesuffix(".d")][0]
    if Path(name).is_file():
        return Path(name)
    raise UsageError(f"there is no script {name!r}; there are {', '.join(known)}, and files by their path")
