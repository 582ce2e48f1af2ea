"""The secret of a disk, from a file of a key or of a passphrase, and the key that its header is wrapped with."""

from __future__ import annotations

import logging
import os
import stat
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from iscsitools.backstores.base import BackstoreError

_log = logging.getLogger(__name__)

KEY_FILE: Final = 1
PASSPHRASE: Final = 2
COST: Final = 15
"""Of scrypt, as a power of two: 32 MiB of memory and about a tenth of a second for each guess."""
COSTS: Final = range(1, 21)
"""What a header may ask for: up to 1 GiB."""
_WRAPPING: Final = 32
_LEAST, _MOST = 32, 4096


@dataclass(frozen=True, slots=True)
class Secret:
    """``kind``: KEY_FILE or PASSPHRASE; ``data``: what the file holds."""

    kind: int
    data: bytes = field(repr=False)

    def wrapping_key(self, salt: bytes, cost: int) -> bytes:
        """The key for a header with this salt; ``cost`` is scrypt's, and of a key file's none."""
        if self.kind == PASSPHRASE:
            return Scrypt(salt=salt, length=_WRAPPING, n=1 << cost, r=8, p=1).derive(self.data)
        return HKDF(SHA256(), _WRAPPING, salt, b"iscsitools-crypt").derive(self.data)


def read_secret(key_file: str, passphrase_file: str) -> Secret:
    """Read the one of the two files that is named; raises BackstoreError with a line for the user."""
    if key_file:
        data = _content(key_file)
        if len(data) < _LEAST:
            raise BackstoreError(f"crypt: {key_file} has {len(data)} bytes; a key has at least {_LEAST} random ones")
        return Secret(KEY_FILE, data)
    data = _content(passphrase_file).removesuffix(b"\n").removesuffix(b"\r")
    if not data:
        raise BackstoreError(f"crypt: {passphrase_file} holds no passphrase")
    return Secret(PASSPHRASE, data)


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                _log.warning("crypt: %s is open to others than its owner (chmod 600)", path)
            data = file.read(_MOST + 1)
    except OSError as error:
        raise BackstoreError(f"crypt: {path}: {error.strerror}") from None
    if len(data) > _MOST:
        raise BackstoreError(f"crypt: {path} is longer than {_MOST} bytes")
    return data
