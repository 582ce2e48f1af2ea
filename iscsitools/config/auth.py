"""Authentication: where secrets come from, and what of a configuration of CHAP makes no sense."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any, Final

from iscsitools.backstores.registry import suggestion
from iscsitools.config.model import AuthConfig, AuthMethod, ChapUser, Secret
from iscsitools.config.positions import Path
from iscsitools.config.reading import Reading
from iscsitools.config.whole_file import read_whole
from iscsitools.errors import RunError

SHORTEST_SECRET: Final = 12
"""Bytes; RFC 7143 12.1.3: a CHAP secret of less than 96 bits must not be used without IPsec."""

_LONGEST: Final = 64 << 10
_SOURCES: Final = ("secret", "secret_file", "secret_env")


def finish_user(reading: Reading, values: Mapping[str, Any], path: Path) -> ChapUser | None:
    """Make a ChapUser, with its secret read from where the configuration says."""
    given = [source for source in _SOURCES if source in values]
    if len(given) != 1:
        found = " and ".join(given) or "none of them"
        reading.problem(path, f"one of secret, secret_file and secret_env is needed, {found} was given")
        return None
    source = given[0]
    place = (*path, source)
    try:
        secret = _resolve(reading, source, values[source], place)
    except ValueError as error:
        reading.problem(place, str(error))
        return None
    if len(secret.value) < SHORTEST_SECRET:
        reading.warn(
            place,
            f"the secret has {len(secret.value)} bytes, fewer than the {SHORTEST_SECRET} that RFC 7143 12.1.3 asks for",
        )
    return ChapUser(values["name"], secret, values.get("initiators", ()))


def _resolve(reading: Reading, source: str, value: str, path: Path) -> Secret:
    if source == "secret_env":
        text = os.environb.get(os.fsencode(value))
        if not text:
            raise ValueError(f"the environment variable {value} is {'not set' if text is None else 'empty'}")
        return Secret(text, f"environment variable {value}")
    if source == "secret":
        if reading.file and _others_may_read(FilePath(reading.file)):
            reading.warn(path, f"others may read {reading.file}, which contains a secret; chmod 600 it")
        return Secret(value.encode())
    file = FilePath(os.path.expanduser(value))
    try:
        content = read_whole(file, _LONGEST, "secret")
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None
    except RunError as error:
        raise ValueError(str(error)) from None
    # Editors and echo end a file with a newline that is not part of the secret; a secret may contain any other byte.
    content = content.removesuffix(b"\n").removesuffix(b"\r")
    if not content:
        raise ValueError(f"{file} is empty")
    if _others_may_read(file):
        reading.warn(path, f"others may read {file}, which contains a secret; chmod 600 it")
    return Secret(content, f"file {file}")


def _others_may_read(file: FilePath) -> bool:
    try:
        return bool(file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return False


def finish_auth(reading: Reading, values: Mapping[str, Any], path: Path) -> AuthConfig:
    """Make an AuthConfig; users without CHAP, CHAP without users, and a secret used both ways are problems."""
    auth = AuthConfig(**values)
    names: set[str] = set()
    for user in auth.users:
        if user.name and user.name in names:
            reading.problem((*path, "users"), f"the user {user.name!r} is given twice")
        names.add(user.name)
    for n, algorithm in enumerate(auth.algorithms):
        if algorithm in auth.algorithms[:n]:
            reading.problem((*path, "algorithms"), f"{algorithm.name.lower().replace('_', '-')} is given twice")
    if auth.method is AuthMethod.CHAP:
        if auth.authenticator is not None:
            if auth.users:
                reading.problem((*path, "users"), "an authenticator is given too; only one of them can know the users")
            if auth.authenticator not in reading.authenticators:
                hint = suggestion(auth.authenticator, reading.authenticators)
                reading.problem((*path, "authenticator"), f"unknown authenticator {auth.authenticator!r}{hint}")
        elif "users" not in values:
            reading.problem(path, "method is chap, and there are no users")
    else:
        for key in ("users", "mutual", "authenticator"):
            if key in values:
                reading.problem((*path, key), 'this has no effect without method = "chap"')
    return auth


def check_mutual_secrets(reading: Reading, tables: Sequence[tuple[Path, AuthConfig]]) -> None:
    """Find secrets with which the server answers initiators and which, anywhere in it, prove a user as well.

    Who can have a challenge answered with such a secret can be that user (RFC 7143 9.2.1).
    """
    users = {user.secret.value: user.name for _, auth in tables for user in auth.users}
    for path, auth in tables:
        if auth.mutual is not None and auth.mutual.secret.value in users:
            name = users[auth.mutual.secret.value]
            reading.problem((*path, "mutual"), f"its secret is that of the user {name!r} too; each needs its own")
