"""Connects the engine's probes to a backend: a subscriber whose mask follows what tracers have enabled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from iscsitools.probes.firing import Probes
from iscsitools.probes.subscribers import ConnectionInfo, Tracer, Xfer
from iscsitools.provider.backend import Backend


class ProviderSubscriber:
    """Subscribes to exactly the probes that a tracer has enabled, and passes their events to the backend.

    The event loop calls :meth:`poll` once per wake-up. So a probe that is off costs nothing at its site, and the first
    events after a tracer attached are those of the next wake-up.
    """

    __slots__ = ("_backend", "_mask", "_probes", "_read_mask", "_tracer")

    def __init__(self, probes: Probes, backend: Backend) -> None:
        self._probes = probes
        self._backend = backend
        self._mask = 0
        self._read_mask = backend.mask
        self._tracer: Tracer | None = None

    @property
    def mask(self) -> int:
        """The probes that were enabled at the last :meth:`poll`."""
        return self._mask

    def poll(self) -> None:
        """Follow what tracers have enabled. Hot: one native call (measured: see docs/dtrace.md)."""
        mask = self._read_mask()
        if mask != self._mask:
            self._mask = mask
            self._probes.subscribe(mask, self)

    def on_pdu(self, probe: int, now: int, conn: ConnectionInfo, lun: int, bhs: bytes, cdb: bytes, sense: int) -> None:
        """As Subscriber.on_pdu. Tracers stamp events with their own clock."""
        self._backend.fire(probe, conn, lun, bhs, cdb)

    def native(self, module: Any, clock: Callable[[], int] | None, fail: Callable[[Exception], None]) -> Tracer:
        """What the data path in C fires by itself (see ``probes.subscribers.NativeSubscriber``)."""
        tracer: Tracer = module.ProviderTracer(self._backend.calls, fail)
        self._tracer = tracer
        return tracer

    def of_thread(self, number: int) -> Tracer | None:
        """The same one: it keeps nothing between two events (see ``probes.subscribers.ThreadedSubscriber``)."""
        return self._tracer

    def on_xfer(self, probe: int, now: int, conn: ConnectionInfo, lun: int, xfer: Xfer) -> None:
        """As Subscriber.on_xfer."""
        self._backend.fire_xfer(probe, conn, lun, xfer)

    def close(self) -> None:
        """Unsubscribe and take the provider back."""
        self._probes.subscribe(0, self)
        self._mask = 0
        self._backend.close()
        self._read_mask = self._backend.mask
