"""Which tracers the server's probes serve: one face for DTrace, for SDT notes, for both and for none."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from iscsitools.probes.subscribers import ConnectionInfo, Xfer
from iscsitools.provider import registration as dtrace
from iscsitools.provider.errors import NotBuiltError, ProviderError
from iscsitools.sources import outdated, why_not_built

if TYPE_CHECKING:
    from types import ModuleType


_MISSING: Final = Path(__file__).parent / "_native.missing"
"""Written by ``setup.py``: why there is no native module."""


class Choice(Enum):
    """The values of ``--provider``."""

    AUTO = "auto"
    DTRACE = "dtrace"
    SDT = "sdt"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Found:
    """One backend and whether this system has it; ``reason``: why not, in one line."""

    name: str
    available: bool
    reason: str = ""


def native_module() -> ModuleType:
    """The native module; NotBuiltError, or ProviderError when it does not load."""
    if importlib.util.find_spec("iscsitools.provider._native") is None:
        raise NotBuiltError(f"the native module was not built: {why_not_built(_MISSING)}")
    try:
        from iscsitools.provider import _native
    except ImportError as error:
        raise ProviderError(f"the native module does not load: {error}") from error
    if reason := outdated(_native, "provider"):
        raise ProviderError(reason)
    return _native


def survey() -> list[Found]:
    """The backends and why one is not to be had, without registering anything."""
    found = []
    for name, why in (("dtrace", _no_dtrace), ("sdt", _no_sdt)):
        reason = why()
        found.append(Found(name, not reason, reason))
    return found


def _no_dtrace() -> str:
    try:
        native_module()
    except ProviderError as error:
        return str(error)
    return dtrace.unavailable()


def _no_sdt() -> str:
    try:
        return "" if native_module().HAVE_SDT else "SDT notes are for Linux on x86-64 and arm64"
    except ProviderError as error:
        return str(error)


def attach_path() -> Path:
    """The file that bpftrace, perf and SystemTap attach to: the native module."""
    return Path(native_module().__file__ or "")


def _no_mask() -> int:
    return 0


@dataclass(slots=True)
class Backend:
    """What the probes are fired into. ``names``: the backends that it serves, none of which may be there.

    All calls are made on one thread. ``warnings``: lines for the user, on what was not to be had. ``notes``: the same
    of what nobody asked for.
    """

    names: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    mask: Callable[[], int] = _no_mask
    """The enabled probes as bits, in well under 100 ns while none is."""
    _native: ModuleType | None = field(default=None, repr=False)
    registration: dtrace.Registration | None = field(default=None, repr=False)
    """What DTrace was told, while it is."""

    def enabled(self, probe: int) -> bool:
        """Whether a tracer has enabled this probe now."""
        return self._native is not None and bool(self._native.enabled(probe))

    def fire(self, probe: int, conn: ConnectionInfo, lun: int, bhs: bytes, cdb: bytes = b"") -> None:
        """Fire a PDU's probe with the 48 bytes of its BHS; ``cdb`` for scsi-command."""
        if self._native is not None:
            self._native.on_pdu(probe, 0, conn, lun, bhs, cdb, 0)

    def fire_xfer(self, probe: int, conn: ConnectionInfo, lun: int, xfer: Xfer) -> None:
        """Fire xfer-start or xfer-done."""
        if self._native is not None:
            self._native.on_xfer(probe, 0, conn, lun, xfer)

    @property
    def calls(self) -> object:
        """What the data path in C fires by: a capsule of the native module, which is there when a probe is enabled."""
        assert self._native is not None
        return self._native.calls

    def close(self) -> None:
        """Take the provider back and leave no file. The backend is as ``none`` afterwards."""
        if self.registration is not None:
            self.registration.close()
        if self._native is not None:
            self._native.use_sdt(False)
            self._native.forget()
        self.names, self.mask, self._native, self.registration = (), _no_mask, None, None


def choose(name: str) -> Backend:
    """Set up the backend that ``--provider NAME`` asks for; ``auto`` takes all that the system has.

    What cannot be had becomes one line in ``warnings`` and the target serves on. ``auto`` on a Linux without DTrace
    says nothing: SDT notes are all that such a system has. Where the native module was not built, as without a C
    compiler, ``auto`` only notes it. ValueError for a name that is none of :class:`Choice`.
    """
    choice = Choice(name)
    if choice is Choice.NONE:
        return Backend()
    try:
        native = native_module()
    except ProviderError as error:
        line = _warning("probes", error)
        unasked = choice is Choice.AUTO and isinstance(error, NotBuiltError)
        return Backend(notes=(line,)) if unasked else Backend(warnings=(line,))
    backend = Backend(mask=native.mask, _native=native)
    warnings: list[str] = []
    if choice is not Choice.SDT and not (choice is Choice.AUTO and _linux_without_dtrace()):
        _add_dtrace(backend, warnings)
    if choice is not Choice.DTRACE and native.HAVE_SDT:
        native.use_sdt(True)
        backend.names = (*backend.names, "sdt")
    elif choice is Choice.SDT:
        warnings.append(_warning("SDT probes", _no_sdt()))
    backend.warnings = tuple(warnings)
    return backend


def _add_dtrace(backend: Backend, warnings: list[str]) -> None:
    """Register with DTrace, or say why not."""
    native = native_module()
    try:
        backend.registration = dtrace.Registration(native)
        backend.names = ("dtrace",)
    except (ProviderError, OSError, MemoryError) as error:
        warnings.append(_warning("DTrace probes", error))


def _linux_without_dtrace() -> bool:
    return bool(_no_dtrace()) and bool(native_module().HAVE_SDT) and not Path(dtrace.DEVICES["Linux"]).exists()


def _warning(what: str, reason: object) -> str:
    return f"no {what}: {reason}"
