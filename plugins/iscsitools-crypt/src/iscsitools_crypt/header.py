"""What lies before the blocks: the disk's key, wrapped with the secret's, twice.

The first MiB of the disk below is the header's. Its two copies, each in one sector of 512 bytes, are the same except
while the key changes: a new one is written over one copy first, durably, and then over the other. A power cut leaves
the old key or the new one, and whoever opens the disk then goes by the higher generation and completes the change. So
when a change has been completed nothing of the old key is left in either place.

=====  =================================================================================
bytes  content (numbers are big-endian)
=====  =================================================================================
8      ``iscscryp``
2      version, 1
2      how the wrapping key is made: 1 HKDF-SHA256 of a key file, 2 scrypt of a passphrase
4      bytes of a block
8      generation
4      scrypt's cost, as a power of two (r 8, p 1)
32     salt
12     nonce
80     the key in AES-256-GCM, with all before it as associated data
32     SHA-256 of all before it, so that what is damaged is told from a wrong secret
=====  =================================================================================
"""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from iscsitools.backstores.base import BackstoreError

from iscsitools_crypt.blocks import KEY_SIZE
from iscsitools_crypt.secrets import COST, COSTS, KEY_FILE, PASSPHRASE, Secret

SIZE: Final = 1 << 20
"""Bytes before the first block."""
PLACES: Final = (0, SIZE // 2)
"""Where the copies are."""
SECTOR: Final = 512
_MAGIC: Final = b"iscscryp"
_VERSION: Final = 1
_FIELDS: Final = struct.Struct(">8sHHIQI32s12s")
_WRAPPED: Final = KEY_SIZE + 16
_DIGEST: Final = 32
_LENGTH: Final = _FIELDS.size + _WRAPPED + _DIGEST


@dataclass(frozen=True, slots=True)
class Header:
    """One copy. ``text`` is all of it, ``block_size`` in bytes."""

    text: bytes
    kind: int
    block_size: int
    generation: int
    cost: int
    salt: bytes
    nonce: bytes

    @classmethod
    def new(cls, secret: Secret, key: bytes, block_size: int, generation: int) -> Header:
        """Wrap a key."""
        salt, nonce = os.urandom(32), os.urandom(12)
        cost = COST if secret.kind == PASSPHRASE else 0
        fields = _FIELDS.pack(_MAGIC, _VERSION, secret.kind, block_size, generation, cost, salt, nonce)
        text = fields + AESGCM(secret.wrapping_key(salt, cost)).encrypt(nonce, key, fields)
        return cls(text + hashlib.sha256(text).digest(), secret.kind, block_size, generation, cost, salt, nonce)

    @classmethod
    def read(cls, sector: bytes) -> Header | None:
        """The copy in a sector; None: there is none, or not a whole one. Raises BackstoreError for another version."""
        text = sector[:_LENGTH]
        magic, version, kind, block_size, generation, cost, salt, nonce = _FIELDS.unpack_from(text)
        if magic != _MAGIC or hashlib.sha256(text[:-_DIGEST]).digest() != text[-_DIGEST:]:
            return None
        if version != _VERSION or kind not in (KEY_FILE, PASSPHRASE) or (kind == PASSPHRASE and cost not in COSTS):
            raise BackstoreError("crypt: the disk's header is of another version than this plugin knows")
        return cls(text, kind, block_size, generation, cost, salt, nonce)

    def key(self, secret: Secret) -> bytes:
        """The key; raises BackstoreError when the secret is not the one that it was wrapped with."""
        if secret.kind != self.kind:
            was = "passphrase_file" if self.kind == PASSPHRASE else "key_file"
            raise BackstoreError(f"crypt: this disk wants its {was}")
        try:
            wrapping = AESGCM(secret.wrapping_key(self.salt, self.cost))
            return wrapping.decrypt(self.nonce, self.text[_FIELDS.size : -_DIGEST], self.text[: _FIELDS.size])
        except InvalidTag:
            raise BackstoreError("crypt: this is not the key of this disk") from None
