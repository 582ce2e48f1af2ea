"""Where running servers are found: NAME.watch, NAME.control and NAME.lock in a run directory.

The directory is $XDG_RUNTIME_DIR/iscsitools, or /run/iscsitools where that variable is not set and the directory can be
used, or else iscsitools-UID in the directory for temporary files, with a number behind it where somebody else was
there first. Readers search all of them, and pass by what could be an impostor's: a directory or a socket that neither
root nor this user owns, and a process of anybody else behind it. Only in /run/iscsitools, which root alone can let
somebody have, does its owner count as well: so a group may watch the server of another user.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from iscsitools.trace.credentials import credentials
from iscsitools.trace.protocol import TraceError

SYSTEM_DIRECTORY: Final = Path("/run/iscsitools")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_OTHER_PLACES: Final = 8
_LONGEST_PATH: Final = 107  # of sockaddr_un, without its final NUL


class NameInUse(TraceError):
    """Another server of that name is running."""


@dataclass(frozen=True, slots=True)
class Paths:
    """The two sockets of a server, and the file that its process holds a lock on."""

    watch: Path
    control: Path
    lock: Path


@dataclass(frozen=True, slots=True)
class ServerEntry:
    """A running server."""

    name: str
    paths: Paths


def candidates() -> list[Path]:
    """Return the run directories in the order in which they are tried and searched."""
    found = [SYSTEM_DIRECTORY]
    with suppress(FileNotFoundError):  # no folder for temporary files can be written to
        own = Path(tempfile.gettempdir()) / f"iscsitools-{os.getuid()}"
        found += [own, *(own.with_name(f"{own.name}.{number}") for number in range(1, _OTHER_PLACES + 1))]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return [Path(runtime) / "iscsitools", *found] if runtime else found


def paths(name: str, directory: Path) -> Paths:
    """Return a server's paths. Raises TraceError when the name cannot be a file's or the path is too long."""
    if not _NAME.fullmatch(name):
        raise TraceError(f"{name!r} is no server name: letters, digits and . _ : - only, 64 at most")
    made = Paths(directory / f"{name}.watch", directory / f"{name}.control", directory / f"{name}.lock")
    if len(os.fsencode(made.control)) > _LONGEST_PATH:
        raise TraceError(f"{made.control}: too long for a Unix socket ({_LONGEST_PATH} bytes)")
    return made


def make_directory() -> Path:
    """Make the first run directory that can be used. Raises TraceError when none can."""
    reasons = []
    for directory in candidates():
        try:
            return _usable(directory)
        except OSError as error:
            reasons.append(f"{directory}: {error.strerror}")
    raise TraceError("no directory for the trace sockets: " + "; ".join(reasons))


def _usable(directory: Path) -> Path:
    shared = directory == SYSTEM_DIRECTORY  # its sockets may be open to a group, so the way to them is, too
    with suppress(FileExistsError):
        directory.mkdir(mode=0o755 if shared else 0o700)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(1, "is not a directory that only this user may write to")
    return directory


def take_lock(name: str, lock: Path) -> int:
    """Lock the server's name until the returned descriptor is closed. Raises NameInUse or OSError."""
    fd = _try_lock(lock)
    if fd is None:
        raise NameInUse(f"a server named {name!r} is already running (its lock is {lock}); choose another --name")
    return fd


def _try_lock(lock: Path) -> int | None:
    while True:
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return None
        # The server that held it may have removed the file between the two calls: then this is a lock on nothing.
        with suppress(FileNotFoundError):
            if os.fstat(fd).st_ino == os.stat(lock).st_ino:
                return fd
        os.close(fd)


def clean(directory: Path) -> None:
    """Remove what servers that were killed left in a run directory: all files of names that nobody holds."""
    for lock in directory.glob("*.lock"):
        fd = _try_lock(lock)
        if fd is not None:
            remove(paths(lock.stem, directory))
            os.close(fd)


def remove(found: Paths) -> None:
    """Remove a server's sockets and lock file; the caller holds the lock."""
    for path in (found.watch, found.control, found.lock):
        path.unlink(missing_ok=True)


def is_there(path: Path, inode: tuple[int, int]) -> bool:
    """Whether a path still leads to this file (device, inode)."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == inode


def trusted_users(directory: Path) -> frozenset[int]:
    """The users whose servers in this directory may be believed; empty: none, it may be a trap.

    Raises OSError when it is not there.
    """
    found = directory.lstat()
    ours = {0, os.getuid()}
    if not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o022:
        return frozenset()
    if directory == SYSTEM_DIRECTORY:
        return frozenset({*ours, found.st_uid})
    return frozenset(ours) if found.st_uid in ours else frozenset()


def may_be_believed(path: Path, users: frozenset[int], sock: socket.socket) -> bool:
    """Whether the process behind a connected socket, and the owner of its file, are among these users."""
    try:
        peer = credentials(sock)
        return path.lstat().st_uid in users and (peer is None or peer[0] in users)
    except OSError:
        return False


def servers() -> list[ServerEntry]:
    """Return the running servers whose watch socket this user may use, sorted by name."""
    found: dict[str, ServerEntry] = {}
    for directory in candidates():
        try:
            users = trusted_users(directory)
        except OSError:
            continue
        for watch in _sockets(directory):
            name = watch.name.removesuffix(".watch")
            if name not in found and _answers(watch, users):
                found[name] = ServerEntry(name, paths(name, directory))
    return [found[name] for name in sorted(found)]


def _sockets(directory: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from (path for path in directory.iterdir() if path.suffix == ".watch" and _NAME.fullmatch(path.stem))


def _answers(path: Path, users: frozenset[int]) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except OSError:
            return False
        return may_be_believed(path, users, probe)


def find(name: str | None) -> ServerEntry:
    """Return the server of that name, or the only one. Raises TraceError with the choice."""
    running = servers()
    if name is not None:
        for entry in running:
            if entry.name == name:
                return entry
    if len(running) == 1 and name is None:
        return running[0]
    names = ", ".join(entry.name for entry in running) or "none"
    if name is not None:
        raise TraceError(f"no running server is named {name!r} (running: {names})")
    if not running:
        places = [place for place in candidates() if place == _first_of(place) or place.exists()]
        searched = ", ".join(f"{place}{_distrust(place)}" for place in places)
        raise TraceError(f"no running server that this user may watch was found in {searched}")
    raise TraceError(f"several servers are running, choose one with --name: {names}")


def _first_of(place: Path) -> Path:
    """The place itself, or the one without the number that is tried before it."""
    return place if place.name == "iscsitools" else place.with_name(place.name.partition(".")[0])


def _distrust(place: Path) -> str:
    """Why a directory was passed by, in brackets."""
    try:
        return "" if trusted_users(place) else " (passed by: somebody else owns it, or may write to it)"
    except OSError:
        return ""
