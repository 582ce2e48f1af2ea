"""A provider's DOF and tracepoints, together in one mapping: what a registration names to the system."""

from __future__ import annotations

import ctypes
from typing import Final

from iscsitools.probes.table import PROVIDER_PROBES
from iscsitools.provider import memory
from iscsitools.provider.dof import Dof
from iscsitools.provider.errors import ProviderError
from iscsitools.provider.tracepoints import STEP, Tracepoints

_DOF_ROOM: Final = memory.PAGE  # it takes about 3 KB
_LINUX_DOF_VERSION: Final = 3
"""DTrace for Linux has is-enabled probes in version 3 only: older DOF came from code that looks at the result."""


class Placement:
    """DOF at the beginning, tracepoints behind it, at addresses that hold until :meth:`close`.

    ``library`` is libusdt as ``system`` compiles it. ProviderError where the system refuses the memory.
    """

    def __init__(self, library: ctypes.CDLL, system: str) -> None:
        linux = system == "Linux"
        kind = memory.FileMemory if linux else memory.Memory
        self.memory = kind(_DOF_ROOM + len(PROVIDER_PROBES) * STEP)
        try:
            self.tracepoints = Tracepoints(library, system, self.memory.address + _DOF_ROOM)
            version = _LINUX_DOF_VERSION if linux else None
            self.dof = Dof(library, self.tracepoints.points, self.memory.address, version)
        except BaseException:
            self.memory.close()
            raise

    def fill(self) -> None:
        """Write DOF and code, and make them executable."""
        image = self.dof.image()
        if len(image) > _DOF_ROOM:
            raise ProviderError("the DOF is larger than the room for it")
        self.memory.fill(image.ljust(_DOF_ROOM, b"\0") + self.tracepoints.code())

    def close(self, *, keep_memory: bool = False) -> None:
        """Give all back; with ``keep_memory`` all but the mapping."""
        self.dof.free()
        if not keep_memory:
            self.memory.close()
