"""The code that stands for each probe and takes a DTrace's traps: an is-enabled function and the probe itself."""

from __future__ import annotations

import ctypes
from ctypes import addressof, byref, c_char
from typing import Final

from iscsitools.probes.table import PROVIDER_PROBES
from iscsitools.provider import building
from iscsitools.provider.errors import ProviderError
from iscsitools.provider.libusdt import Tracepoint

STEP: Final = 32
"""Bytes from one probe's code to the next one's; libusdt's FUNC_SIZE."""
_NOP_RETURN: Final = {
    building.X86_64: b"\x90\xc3",
    building.ARM64: b"\x1f\x20\x03\xd5\xc0\x03\x5f\xd6",
}


class Tracepoints:
    """The tracepoints of all probes, for memory that begins at ``address``: their addresses and their code.

    Elsewhere than on Linux the code is libusdt's, copied out of the loaded library: ``is_enabled(void)`` is true where
    a trap makes its result so. DTrace for Linux has another convention, ``is_enabled(int *enabled)``, and there both
    functions are a nop and a return, at the places that libusdt names for Linux.
    """

    def __init__(self, library: ctypes.CDLL, system: str, address: int) -> None:
        self._address = address
        self.points = (Tracepoint * len(PROVIDER_PROBES))()
        self.linux = system == "Linux"
        self._enabled_at = 0
        if self.linux:
            some = Tracepoint()
            self._enabled_at = library.usdt_is_enabled_offset(byref(some), None)
            self._code, probe_at = self._linux_code(library)
        else:
            self._code, probe_at = _libusdt_code(library)
        for number, point in enumerate(self.points):
            point.isenabled_addr = address + number * STEP  # where the DOF says that the probe begins
            point.probe_addr = point.isenabled_addr + probe_at

    def _linux_code(self, library: ctypes.CDLL) -> tuple[bytes, int]:
        function = _NOP_RETURN[building.processor()]
        some = Tracepoint(0, len(function))
        probe_at = int(library.usdt_probe_offset(byref(some), None, 1))
        code = bytearray(probe_at + len(function))
        for at in (self._enabled_at, probe_at):
            code[at : at + len(function)] = function
        return bytes(code), probe_at

    def code(self) -> bytes:
        """What has to stand in the memory."""
        return self._code.ljust(STEP, b"\0") * len(self.points)

    def pairs(self) -> bytes:
        """Two addresses for each probe, as the native module takes them: is-enabled function and probe."""
        pairs = ((point.isenabled_addr + self._enabled_at, point.probe_addr) for point in self.points)
        return b"".join(address.to_bytes(8, "little") for pair in pairs for address in pair)


def _libusdt_code(library: ctypes.CDLL) -> tuple[bytes, int]:
    """The code of libusdt for one probe, and where in it the probe is behind the is-enabled function."""
    try:
        start, probe, end = (
            addressof(c_char.in_dll(library, f"usdt_tracepoint_{name}")) for name in ("isenabled", "probe", "end")
        )
    except ValueError as error:
        raise ProviderError(f"the library made of libusdt has no tracepoints: {error}") from None
    if not start < probe < end < start + STEP:
        raise ProviderError(f"libusdt's tracepoints are not as expected: {probe - start} and {end - start} bytes")
    return ctypes.string_at(start, STEP), probe - start  # as libusdt copies them
