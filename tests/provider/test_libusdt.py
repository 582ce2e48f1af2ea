"""Firing through libusdt's own functions, with its tracepoints patched as DTrace patches them."""

from __future__ import annotations

import ctypes
import mmap
from ctypes import CFUNCTYPE, c_long, c_size_t, c_uint64, c_void_p
from pathlib import Path
from typing import Any

import pytest
from support.native import needs_libusdt, needs_native

from iscsitools.probes.subscribers import ConnectionInfo, Xfer
from iscsitools.probes.table import PROVIDER_PROBES, XFER_PROBES, Probe
from iscsitools.provider import backend, registration

from .systems import Sent


@pytest.fixture(scope="module", autouse=True)
def all_is_there() -> None:
    needs_native()
    needs_libusdt()


class _Native:
    """The native module, looked up when it is used: it may not be there."""

    def __getattr__(self, name: str) -> Any:
        return getattr(backend.native_module(), name)


NATIVE: Any = _Native()
ENABLED_AT = 8  # xorq %rax, %rax in libusdt's is-enabled function: the trap makes its result 1
MAP_FIXED_NOREPLACE = 0x100000
REACH = (1 << 31) - (64 << 20)  # of a 5-byte call, less room for where in their mappings the two ends are


LIBC = ctypes.CDLL(None)
LIBC.mmap.restype = c_void_p
LIBC.mmap.argtypes = (c_void_p, c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, c_long)
LIBC.munmap.argtypes = (c_void_p, c_size_t)


def page_near(address: int) -> int:
    """Map a page of code within reach of ``address``. That lies in the heap, which other tests may have made large."""
    protection = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_FIXED_NOREPLACE
    first = address & -mmap.PAGESIZE
    for distance in range(16 << 20, REACH, 16 << 20):
        for place in (first + distance, first - distance):
            if place > 0 and LIBC.mmap(place, mmap.PAGESIZE, protection, flags, -1, 0) == place:
                return place
    raise AssertionError("there is no free page within reach of the tracepoints")


class Tracer:
    """Stands in for DTrace: an enabled tracepoint calls here with its argument registers."""

    def __init__(self, sent: Sent) -> None:
        self.sent = sent
        memory = sent.placement.memory
        # A kernel writes its traps into memory that the process cannot write.
        everything = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        assert LIBC.mprotect(c_void_p(memory.address), c_size_t(memory.size), everything) == 0
        self.fired: list[tuple[int, int, int]] = []
        self._current = 0
        self._callback = CFUNCTYPE(None, c_uint64, c_uint64)(self._trap)
        target = ctypes.cast(self._callback, c_void_p).value or 0
        # A 5-byte call reaches the relay, and the relay everything: movabs $target, %rax; jmp *%rax
        self._relay = page_near(sent.points[0].isenabled_addr)
        ctypes.memmove(self._relay, b"\x48\xb8" + target.to_bytes(8, "little") + b"\xff\xe0", 12)

    def _trap(self, first: int, second: int) -> None:
        self.fired.append((self._current, first, second))

    def close(self) -> None:
        LIBC.munmap(self._relay, mmap.PAGESIZE)

    def enable(self, probe: int) -> None:
        self._current = probe
        point = self.sent.points[probe]
        ctypes.memmove(point.isenabled_addr + ENABLED_AT, b"\xb0\x01\x90", 3)  # movb $1, %al; nop
        distance = self._relay - (point.probe_addr + 5)
        ctypes.memmove(point.probe_addr, b"\xe8" + distance.to_bytes(4, "little", signed=True), 5)

    def disable(self, probe: int) -> None:
        point = self.sent.points[probe]
        ctypes.memmove(point.isenabled_addr + ENABLED_AT, b"\x48\x31\xc0", 3)
        ctypes.memmove(point.probe_addr, b"\x90" * 5, 5)


@pytest.fixture
def tracer(tmp_path: Path) -> Any:
    sent = Sent("SunOS", tmp_path)
    registration.set_tracepoints(NATIVE, sent.library, sent.placement.tracepoints)
    stand_in = Tracer(sent)
    yield stand_in
    NATIVE.set_tracepoints(NATIVE.CONVENTION_NONE, b"", 0, 0)
    NATIVE.forget()
    stand_in.close()
    sent.close()


def fire(probe: int) -> None:
    if probe in XFER_PROBES:
        NATIVE.on_xfer(probe, 0, ConnectionInfo(1), 7, Xfer(1, 2, 3, 4, 5, 1))
    else:
        NATIVE.on_pdu(probe, 0, ConnectionInfo(1), 7, bytes(range(48)), b"\x12" + bytes(5), 0)


@pytest.mark.parametrize("probe", PROVIDER_PROBES)
def test_each_probe_delivers_its_native_arguments(tracer: Tracer, probe: Probe) -> None:
    assert NATIVE.mask() == 0
    tracer.enable(probe)
    assert NATIVE.enabled(probe)
    assert NATIVE.mask() == 1 << probe
    for other in PROVIDER_PROBES:
        fire(other)
    ((_, first, second),) = tracer.fired
    fire(probe)
    proto, command, xfer = NATIVE.last_event()
    assert ctypes.string_at(first, len(proto)) == proto
    if probe is Probe.SCSI_COMMAND:
        assert ctypes.string_at(second, len(command)) == command
    elif probe in XFER_PROBES:
        assert ctypes.string_at(second, len(xfer)) == xfer


def test_a_disabled_probe_leaves_the_mask_within_64_calls(tracer: Tracer) -> None:
    tracer.enable(Probe.DATA_SEND)
    assert NATIVE.mask() == 1 << Probe.DATA_SEND
    tracer.disable(Probe.DATA_SEND)
    assert not NATIVE.enabled(Probe.DATA_SEND)
    assert 0 in [NATIVE.mask() for _ in range(64)]
    fire(Probe.DATA_SEND)
    assert not tracer.fired
