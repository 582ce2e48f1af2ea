"""Blocks in AES-256-XTS (IEEE 1619), each with its number as the tweak, and what zeros below them mean.

An aligned piece of 512 bytes that is all zeros below is zeros above: that is what a hole reads as, and so UNMAP keeps
its promise. No bytes that a client can choose are encrypted to 512 zeros, but with a chance of one in 2 to the 4096.
XTS encrypts each 16 bytes for themselves, so a block that a power cut left half old and half new is that above, too.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import XTS

KEY_SIZE: Final = 64
"""Bytes of a key: two of AES-256."""
PIECE: Final = 512
"""What a drive writes whole, and so the least that can be zeros by itself."""
_ZEROS: Final = bytes(PIECE)


class Blocks:
    """Encrypts and decrypts whole blocks with one key. Has no state besides, so any thread may use it."""

    def __init__(self, key: bytes, block_size: int) -> None:
        self._key = AES(key)
        self._size = block_size

    def encrypt(self, offset: int, data: bytes | memoryview) -> memoryview:
        """What ``data`` at byte ``offset`` of the disk is below."""
        view = memoryview(data)
        out = bytearray(len(view) + 15)  # update_into wants room for a block more
        self._each(offset, view, memoryview(out), encrypt=True)
        return memoryview(out)[: len(view)]

    def decrypt(self, offset: int, buffer: memoryview) -> None:
        """Make of what is below, in ``buffer``, the bytes at ``offset``, in the same place."""
        found = bytes(buffer)
        if _ZEROS not in found:
            self._decrypt(offset, found, buffer)
            return
        zeros = [at for at in range(0, len(found), PIECE) if found.startswith(_ZEROS, at)]
        if len(zeros) * PIECE == len(found):
            return
        self._decrypt(offset, found, buffer)
        for at in zeros:
            buffer[at : at + PIECE] = _ZEROS

    def _decrypt(self, offset: int, found: bytes, buffer: memoryview) -> None:
        out = bytearray(len(found) + 15)
        self._each(offset, memoryview(found), memoryview(out), encrypt=False)
        buffer[:] = memoryview(out)[: len(found)]

    def _each(self, offset: int, data: memoryview, out: memoryview, *, encrypt: bool) -> None:
        """Hot: some microseconds for each block, which is what a cipher's context costs."""
        key, size, number = self._key, self._size, offset // self._size
        for at in range(0, len(data), size):
            cipher = Cipher(key, XTS(number.to_bytes(16, "little")))
            context = cipher.encryptor() if encrypt else cipher.decryptor()
            context.update_into(data[at : at + size], out[at:])
            number += 1
