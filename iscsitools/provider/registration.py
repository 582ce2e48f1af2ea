"""Telling the system's DTrace of the provider, and taking it back: the helper device of each system."""

from __future__ import annotations

import atexit
import ctypes
import os
import platform
import struct
from ctypes import c_char_p, c_int, c_ulong, c_void_p
from typing import Final, Protocol

from iscsitools.provider import building, libusdt, memory
from iscsitools.provider.dof import MODULE
from iscsitools.provider.errors import ProviderError
from iscsitools.provider.placement import Placement
from iscsitools.provider.tracepoints import Tracepoints

DEVICES: Final = {
    "SunOS": "/dev/dtrace/helper",
    "FreeBSD": "/dev/dtrace/helper",
    "Linux": "/dev/dtrace/helper",
    "Darwin": "/dev/dtracehelper",
}


class NativeModule(Protocol):
    """What a registration needs of the native module."""

    CONVENTION_NONE: int
    CONVENTION_LIBUSDT: int
    CONVENTION_LINUX: int

    def set_tracepoints(self, convention: int, pairs: bytes, is_enabled: int, fire: int, /) -> None:
        """Say which addresses are called."""


def unavailable() -> str:
    """Why no DTrace provider can be registered here, or ``""``. Nothing is built or opened."""
    system = platform.system()
    if system not in DEVICES:
        return f"{system} has no DTrace that is known here"
    try:
        building.processor()
    except ProviderError as error:
        return str(error)
    device = DEVICES[system]
    if not os.path.exists(device):
        return f"{device} does not exist: DTrace is not loaded, or its probe daemon does not run"
    if not os.access(device, os.R_OK | os.W_OK):
        return f"no permission to open {device}"
    return libusdt.unavailable()


def freebsd_helper(dof: int, pid: int) -> bytes:
    """FreeBSD's ``dof_helper_t``: libusdt leaves its pid, which FreeBSD 11 and later look at, to chance."""
    return struct.pack("=64sQQii", MODULE.encode(), dof, dof, pid, 0)


class Registration:
    """The provider ``iscsi<pid>`` of this process, from here to :meth:`close`."""

    def __init__(self, native: NativeModule) -> None:
        reason = unavailable()
        if reason:
            raise ProviderError(reason)
        self._system = platform.system()
        self._pid = os.getpid()
        self._native = native
        self._library = libusdt.load(self._system)
        if self._system == "Linux":
            memory.clean()
        self._placement = Placement(self._library, self._system)
        self._own_memory = None
        try:
            self._register()
        except BaseException:
            self._release(keep_memory=False)
            raise
        atexit.register(self.close)

    def image(self) -> bytes:
        """The DOF that was sent."""
        return self._placement.dof.image()

    def close(self) -> None:
        """Take the provider back: DTrace lists it no more, and no file is left. At exit at the latest."""
        atexit.unregister(self.close)
        if os.getpid() != self._pid:
            return  # a forked child: the provider is its parent's
        self._native.set_tracepoints(self._native.CONVENTION_NONE, b"", 0, 0)
        file = self._placement.dof.file.contents
        if self._system == "FreeBSD":
            self._freebsd_ioctl(_FREEBSD_REMOVE, struct.pack("=i", file.gen))
        else:
            self._library.usdt_dof_file_unload(self._placement.dof.file)
        # On Linux uprobes are the file's. Elsewhere a tracer may still have traps in this memory, and new tracepoints
        # must not come to lie under them.
        self._release(keep_memory=self._system != "Linux")

    def _register(self) -> None:
        file = self._placement.dof.file.contents
        self._placement.fill()
        self._own_memory, file.dof = file.dof, self._placement.memory.address
        if self._system == "FreeBSD":
            helper = self._freebsd_ioctl(_FREEBSD_ADD, freebsd_helper(file.dof, os.getpid()))
            file.gen = struct.unpack_from("=i", helper, _FREEBSD_GEN_AT)[0]
        elif self._library.usdt_dof_file_load(self._placement.dof.file, MODULE.encode()) < 0:
            error = os.strerror(ctypes.get_errno())
            raise ProviderError(f"{DEVICES[self._system]} refused the provider: {error}")
        set_tracepoints(self._native, self._library, self._placement.tracepoints)

    def _release(self, *, keep_memory: bool) -> None:
        """Give back what only this process uses."""
        if self._own_memory is not None:
            self._placement.dof.file.contents.dof = self._own_memory
        self._placement.close(keep_memory=keep_memory)

    def _freebsd_ioctl(self, request: int, argument: bytes) -> bytes:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.ioctl.argtypes = (c_int, c_ulong, c_char_p)
        buffer = ctypes.create_string_buffer(argument, len(argument))
        fd = os.open(DEVICES["FreeBSD"], os.O_RDWR | os.O_CLOEXEC)
        try:
            if libc.ioctl(fd, request, buffer) < 0:
                raise ProviderError(f"{DEVICES['FreeBSD']}: {os.strerror(ctypes.get_errno())}")
        finally:
            os.close(fd)
        return buffer.raw


_FREEBSD_ADD: Final = 0xC0587A03  # DTRACEHIOC_ADDDOF: _IOWR('z', 3, dof_helper_t of 88 bytes)
_FREEBSD_REMOVE: Final = 0x80047A02  # DTRACEHIOC_REMOVE: _IOW('z', 2, int)
_FREEBSD_GEN_AT: Final = 84


def set_tracepoints(native: NativeModule, library: ctypes.CDLL, tracepoints: Tracepoints) -> None:
    """Have the native module ask and fire: on Linux by itself, elsewhere through libusdt's functions."""
    if tracepoints.linux:
        native.set_tracepoints(native.CONVENTION_LINUX, tracepoints.pairs(), 0, 0)
        return
    is_enabled, fire = (
        ctypes.cast(getattr(library, name), c_void_p).value or 0 for name in ("usdt_is_enabled", "usdt_fire_probe")
    )
    native.set_tracepoints(native.CONVENTION_LIBUSDT, tracepoints.pairs(), is_enabled, fire)
