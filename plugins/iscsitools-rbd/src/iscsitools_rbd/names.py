"""The name of an image as Ceph's own tools write it: ``POOL/IMAGE``, ``POOL/NAMESPACE/IMAGE``, each with ``@SNAP``."""

from __future__ import annotations

from typing import NamedTuple


class ImageName(NamedTuple):
    """``namespace`` and ``snapshot`` are empty where there is none."""

    pool: str
    namespace: str
    image: str
    snapshot: str

    @classmethod
    def parse(cls, text: str) -> ImageName:
        """Read a name; raises ValueError with the reason."""
        path, at, snapshot = text.partition("@")
        parts = path.split("/")
        if len(parts) == 2:
            parts.insert(1, "")
        if len(parts) != 3 or not parts[0] or not parts[2] or (at and not snapshot) or "@" in snapshot:
            raise ValueError(f"{text!r} is no image's name: it is POOL/IMAGE, POOL/NAMESPACE/IMAGE, and @SNAPSHOT")
        return cls(parts[0], parts[1], parts[2], snapshot)

    def __str__(self) -> str:
        path = "/".join(part for part in self[:3] if part)
        return f"{path}@{self.snapshot}" if self.snapshot else path
