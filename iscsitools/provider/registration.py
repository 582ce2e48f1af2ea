"""Telling the system's DTrace of the provider, and taking it back: the helper device of each system."""

from __future__ import annotations

import atexit
import ctypes
import os
import platform
import struct
from ctypes import byref, c_char_p, c_int, c_ulong, c_void_p
from typing import Final, Protocol

from iscsitools.probes.table import PROVIDER_PROBES
from iscsitools.provider import libusdt, mapping
from iscsitools.provider.dof import MODULE, Dof
from iscsitools.provider.errors import ProviderError
from iscsitools.provider.libusdt import Tracepoint

DEVICES: Final = {
    "SunOS": "/dev/dtrace/helper",
    "FreeBSD": "/dev/dtrace/helper",
    "Linux": "/dev/dtrace/helper",
    "Darwin": "/dev/dtracehelper",
}
_MACHINES: Final = frozenset({"x86_64", "amd64", "i86pc"})


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
    if unknown_processor():
        return unknown_processor()
    device = DEVICES[system]
    if not os.path.exists(device):
        return f"{device} does not exist: DTrace is not loaded, or its probe daemon does not run"
    if not os.access(device, os.R_OK | os.W_OK):
        return f"no permission to open {device}"
    try:
        libusdt.package_folder()
        libusdt.compiler()
    except ProviderError as error:
        return str(error)
    return ""


def unknown_processor() -> str:
    """Why libusdt has no tracepoints for this processor, or ``""``."""
    machine = platform.machine()
    if machine in _MACHINES and ctypes.sizeof(c_void_p) == 8:
        return ""
    return f"libusdt knows 64-bit x86 processors only; not {machine} (Apple Silicon is arm64)"


def create_tracepoints(library: ctypes.CDLL) -> ctypes.Array[Tracepoint]:
    """Tracepoints in libusdt's own form, for illumos, FreeBSD and macOS."""
    points = (Tracepoint * len(PROVIDER_PROBES))()
    for point in points:
        if library.usdt_create_tracepoints(byref(point)) < 0:
            raise ProviderError("libusdt cannot make memory for its tracepoints executable")
    return points


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
        self._mapping = mapping.Mapping() if self._system == "Linux" else None
        self._own_memory = None
        if self._mapping is not None:
            mapping.clean()
            self._points = self._mapping.points
            self._dof = Dof(self._library, self._points, mapping.DOF_VERSION)
        else:
            self._points = create_tracepoints(self._library)
            self._dof = Dof(self._library, self._points)
        try:
            self._register()
        except BaseException:
            self._release()
            raise
        atexit.register(self.close)

    def image(self) -> bytes:
        """The DOF that was sent."""
        return self._dof.image()

    def close(self) -> None:
        """Take the provider back: DTrace lists it no more, and no file is left. At exit at the latest."""
        atexit.unregister(self.close)
        if os.getpid() != self._pid:
            return  # a forked child: the provider is its parent's
        self._native.set_tracepoints(self._native.CONVENTION_NONE, b"", 0, 0)
        file = self._dof.file.contents
        if self._system == "FreeBSD":
            self._freebsd_ioctl(_FREEBSD_REMOVE, struct.pack("=i", file.gen))
        else:
            self._library.usdt_dof_file_unload(self._dof.file)
        self._release()

    def _register(self) -> None:
        native, library = self._native, self._library
        file = self._dof.file.contents
        if self._mapping is not None:
            self._mapping.fill(self._dof)
            self._own_memory, file.dof = file.dof, self._mapping.address
        if self._system == "FreeBSD":
            helper = self._freebsd_ioctl(_FREEBSD_ADD, freebsd_helper(file.dof, os.getpid()))
            file.gen = struct.unpack_from("=i", helper, _FREEBSD_GEN_AT)[0]
        elif library.usdt_dof_file_load(self._dof.file, MODULE.encode()) < 0:
            error = os.strerror(ctypes.get_errno())
            raise ProviderError(f"{DEVICES[self._system]} refused the provider: {error}")
        if self._mapping is not None:
            native.set_tracepoints(native.CONVENTION_LINUX, self._mapping.functions(), 0, 0)
        else:
            set_libusdt_tracepoints(native, library, self._points)

    def _release(self) -> None:
        """Give back what only this process uses. libusdt's tracepoints stay: a tracer may still have traps in them."""
        if self._own_memory is not None:
            self._dof.file.contents.dof = self._own_memory
        self._dof.free()
        if self._mapping is not None:
            self._mapping.close()

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


def set_libusdt_tracepoints(native: NativeModule, library: ctypes.CDLL, points: ctypes.Array[Tracepoint]) -> None:
    """Have the native module ask and fire through libusdt's functions."""
    pairs = b"".join(p.isenabled_addr.to_bytes(8, "little") + p.probe_addr.to_bytes(8, "little") for p in points)
    is_enabled, fire = (
        ctypes.cast(getattr(library, name), c_void_p).value or 0 for name in ("usdt_is_enabled", "usdt_fire_probe")
    )
    native.set_tracepoints(native.CONVENTION_LIBUSDT, pairs, is_enabled, fire)
