"""The ``crypt`` filter: what lies below is encrypted, block by block, and SANITIZE can change the key."""

from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Iterator
from typing import Final

from iscsitools.backstores import values
from iscsitools.backstores.base import (
    Backstore,
    BackstoreError,
    Capabilities,
    Extent,
    Filter,
    MediumError,
    Option,
    Space,
)

from iscsitools_crypt.blocks import KEY_SIZE, Blocks
from iscsitools_crypt.header import PLACES, SECTOR, SIZE, Header
from iscsitools_crypt.secrets import Secret, read_secret

_NO_HEADER: Final = "crypt: the disk below has data, and no header of this plugin"


class CryptFilter(Filter):
    """``KIND+crypt``: a disk in AES-256-XTS over another one, whose first MiB has the key, wrapped.

    It keeps what the one below promises: a write goes down as one of the same blocks, durable ones and flushes as
    such, and holes are holes.
    """

    kind = "crypt"
    summary = "encrypts what lies below (AES-256-XTS); SANITIZE can change the key"
    options = (
        Option("key_file", values.path, "", "a file of at least 32 random bytes"),
        Option("passphrase_file", values.path, "", "a file with a passphrase, in place of key_file"),
        Option("create", values.yes_no, True, "no: refuse a disk that has no header, in place of making one"),
    )

    def __init__(self, inner: Backstore, key_file: str = "", passphrase_file: str = "", create: bool = True) -> None:
        super().__init__(inner)
        if bool(key_file) is bool(passphrase_file):
            raise BackstoreError("crypt: crypt.key_file or crypt.passphrase_file is needed, and only one of them")
        self.blocking = True  # the cipher takes milliseconds for a long command
        self._files = (key_file, passphrase_file)
        self._create = create
        self._changing = False
        self._secret = Secret(0, b"")
        self._header: Header
        self._blocks_below: Blocks

    def open(self) -> None:
        """Open the one below, and unwrap the key; a new disk gets one."""
        self._secret = read_secret(*self._files)
        super().open()
        try:
            if self.size <= 0:
                raise BackstoreError(f"crypt: the disk below has {self.inner.size} bytes, and the header takes {SIZE}")
            self._open_header()
        except BaseException as error:
            self.inner.close()
            if isinstance(error, OSError | MediumError):
                raise BackstoreError(f"crypt: the disk's header: {error}") from error
            raise

    def _open_header(self) -> None:
        sectors = [self._sector(place) for place in PLACES]
        if not any(map(any, sectors)):
            self._make_header()
            return
        copies = [Header.read(sector) for sector in sectors]
        header = max(filter(None, copies), key=lambda copy: copy.generation, default=None)
        if header is None:
            raise BackstoreError(_NO_HEADER)
        if header.block_size != self.block_size:
            raise BackstoreError(f"crypt: the disk was made with block_size={header.block_size}; it needs that")
        self._use(header, header.key(self._secret))
        if self.read_only:
            return
        for place, copy in zip(PLACES, copies, strict=True):
            if copy != header:  # a change that a power cut broke off is completed
                self.inner.write_through(place, self._padded(header))

    def _make_header(self) -> None:
        if self.read_only or not self._create:
            raise BackstoreError("crypt: the disk below has no header; it was never used with this filter")
        room = bytearray(SIZE)
        self.inner.read_into(0, memoryview(room))
        if any(room):  # a file system may leave its first sectors alone
            raise BackstoreError(_NO_HEADER)
        key = os.urandom(KEY_SIZE)
        self._use(Header.new(self._secret, key, self.block_size, 1), key)
        for place in PLACES:
            self.inner.write_through(place, self._padded(self._header))

    def _sector(self, place: int) -> bytes:
        block = bytearray(self.block_size)
        self.inner.read_into(place, memoryview(block))
        return bytes(block[:SECTOR])

    def _padded(self, header: Header) -> memoryview:
        return memoryview(header.text.ljust(self.block_size, b"\0"))

    def _use(self, header: Header, key: bytes) -> None:
        self._header = header
        self._blocks_below = Blocks(key, self.block_size)

    def restore(self, fd: int) -> None:
        """Take back what lies below, the header too: ``open`` has found another one there, or made it."""
        self.inner.restore(fd)
        self._open_header()

    def _check(self) -> None:
        if self._changing:
            raise OSError(errno.EIO, "crypt: a change of the key was broken off; until it succeeds, no key is in force")

    @property
    def size(self) -> int:
        """What is left behind the header, in whole blocks."""
        left = self.inner.size - SIZE
        return max(0, left - left % self.block_size)

    @property
    def capabilities(self) -> Capabilities:
        """The ones of the disk below; the key can be changed unless another server would go on with the old one."""
        inner = self.inner.capabilities
        return dataclasses.replace(inner, crypto_erase=not inner.read_only and self.inner.access is None)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Read, and decrypt in place."""
        self._check()
        self.inner.read_into(SIZE + offset, buffer)
        self._blocks_below.decrypt(offset, buffer)

    def write(self, offset: int, buffer: memoryview) -> None:
        """Encrypt, and write."""
        self._check()
        self.inner.write(SIZE + offset, self._blocks_below.encrypt(offset, buffer))

    def write_through(self, offset: int, buffer: memoryview) -> None:
        """Encrypt, and write durably by the means of the disk below."""
        self._check()
        self.inner.write_through(SIZE + offset, self._blocks_below.encrypt(offset, buffer))

    def discard(self, offset: int, length: int) -> None:
        """Discard below: zeros there are zeros here."""
        self._check()
        self.inner.discard(SIZE + offset, length)

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """Those below: a hole there is one here."""
        for extent in self.inner.extents(SIZE + offset, length):
            yield extent._replace(offset=extent.offset - SIZE)

    def space(self) -> Space | None:
        """As below: a block here takes one there."""
        return self.inner.space()

    def resize(self, size: int) -> None:
        """Resize what lies below, which has the header besides."""
        self.inner.resize(SIZE + size)

    def seal(self, offset: int, data: memoryview) -> memoryview:
        """As it would be written below."""
        return self.inner.seal(SIZE + offset, self._blocks_below.encrypt(offset, data))

    def unseal(self, offset: int, data: memoryview) -> memoryview:
        """What :meth:`seal` was given."""
        buffer = memoryview(bytearray(self.inner.unseal(SIZE + offset, data)))
        self._blocks_below.decrypt(offset, buffer)
        return buffer

    def crypto_erase(self) -> None:
        """Change the key: over one copy of the header, and when that is durable over the other.

        If the first fails, nobody knows which key a later ``open`` finds. So none is in force then, and nothing is read
        or written, until another change has succeeded or the disk is opened anew.
        """
        key = os.urandom(KEY_SIZE)
        header = Header.new(self._secret, key, self.block_size, self._header.generation + 1)
        self._changing = True
        self.inner.write_through(PLACES[0], self._padded(header))
        self._use(header, key)
        self._changing = False
        self.inner.write_through(PLACES[1], self._padded(header))
