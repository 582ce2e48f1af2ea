"""libusdt as each system would compile it, made on this machine, and the DOF that would be sent there."""

from __future__ import annotations

import ctypes
from ctypes import c_void_p
from pathlib import Path

from iscsitools.provider import building, libusdt
from iscsitools.provider.placement import Placement

# This machine's headers first, as they are; then what the other system's compiler says of itself.
_HEADERS = (
    *("assert", "endian", "errno", "fcntl", "stdarg", "stddef", "stdint", "stdio", "stdlib", "string", "unistd"),
    *("sys/ioctl", "sys/mman", "sys/types"),
)
_MACROS = {
    "SunOS": "#undef __linux__\n",
    "FreeBSD": "#undef __linux__\n#define __FreeBSD__ 14\n",
    "Darwin": "#undef __linux__\n#define __APPLE__ 1\n",
    "Linux": "",
}
SYSTEMS = tuple(_MACROS)


def library(system: str, folder: Path) -> ctypes.CDLL:
    """Compile libusdt's installed sources so that they take this machine for another system."""
    prefix = folder / f"{system}.h"
    prefix.write_text("".join(f"#include <{name}.h>\n" for name in _HEADERS) + _MACROS[system])
    more = ["-include", str(prefix), f"-I{building.HEADERS}"]
    arguments = building.source_arguments("Linux", "", building.package_folder(), more)
    made = folder / f"{system}.so"
    building.build(building.compiler(), arguments, made)
    return libusdt.open_library(made)


class Sent:
    """What would be sent on a system: the DOF's bytes and address, and the tracepoints that it names."""

    def __init__(self, system: str, folder: Path) -> None:
        self.system = system
        self.library = library(system, folder)
        self.placement = Placement(self.library, system)
        self.placement.fill()
        self.address = self.placement.memory.address
        self.points = self.placement.tracepoints.points
        self.image = self.placement.dof.image()

    def code(self, address: int, length: int) -> bytes:
        return ctypes.string_at(c_void_p(address), length)

    def close(self) -> None:
        self.placement.close()
