"""What programs that watch a target call: attach to its events, or have it keep sums."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from iscsitools.trace import memory, names
from iscsitools.trace.client.checked import live_status_of, sessions_of
from iscsitools.trace.client.connection import ServerConnection, sense
from iscsitools.trace.client.live import RingTrace, SocketTrace
from iscsitools.trace.client.source import Trace
from iscsitools.trace.memory import PAGE
from iscsitools.trace.protocol import Message
from iscsitools.trace.record import SIZE
from iscsitools.trace.selection import Selection, mask_of
from iscsitools.trace.sums.snapshot import Snapshot

_MOST_RINGS: Final = PAGE // 8
"""As many as positions have place in their page."""
RING_SIZE: Final = 8 << 20
"""Bytes: at 250,000 events a second the reader may be away for a quarter of a second."""


def _watch_path(name: str | None, socket: str | Path | None) -> str | Path:
    return socket if socket is not None else names.find(name).paths.watch


def attach(
    name: str | None = None,
    socket: str | Path | None = None,
    probes: Iterable[str] | None = None,
    client: str | None = None,
    target: str | None = None,
    lun: int | None = None,
    ring_size: int = RING_SIZE,
    mode: str = "auto",
) -> Trace:
    """Get the events of a running server from now on, without root.

    ``name``: which server, when several run; ``socket``: the path of its watch socket instead. ``probes``: names such
    as ``scsi-command``; None is all. ``client`` (an address, ``address:port`` or an initiator's name), ``target`` and
    ``lun`` leave out the events of others. ``ring_size``: bytes of the shared memory, rounded up to a power of two; of
    a server with data threads for each of them and for its loop, or less if that is too much.
    ``mode``: ``ring``, ``socket``, or ``auto``: the ring where there can be one.

    Raises TraceError with one line for the user when there is no such server or it refuses, ValueError for a probe
    that does not exist.
    """
    selection = Selection(mask_of(probes), client, target, lun)
    records = 1 << max(9, (max(ring_size, 1) // SIZE - 1).bit_length())
    if mode == "auto":
        mode = "socket" if memory.why_no_rings() else "ring"
    link = ServerConnection(_watch_path(name, socket))
    try:
        answer = link.request("attach", mode=mode, records=records, merges=True, **selection.to_json())
        with sense(link.path):
            if answer["mode"] == "socket":
                return SocketTrace(link)
            capacity, rings = answer["records"], answer.get("rings", 1)
            if not 0 < rings <= _MOST_RINGS or not 0 < capacity <= records or capacity & (capacity - 1):
                raise ValueError("rings of another size")
            ring, position = link.fds
        link.fds = []
        return RingTrace(link, ring, position, capacity, rings)
    except BaseException:
        link.close()
        raise


class WatchedServer:
    """Questions to a running server over its watch socket; :meth:`drop` and :meth:`shut_down` need the control socket.

    Usable in a ``with`` statement.
    """

    def __init__(self, name: str | None = None, socket: str | Path | None = None, *, control: bool = False) -> None:
        """Connect. Raises TraceError."""
        if control and socket is None:
            socket = names.find(name).paths.control
        self._link = ServerConnection(_watch_path(name, socket))
        self.name: str = self._link.server["name"]
        self.path: str = self._link.path
        """Of the socket."""
        self.server: Message = self._link.server

    def sessions(self) -> list[dict[str, Any]]:
        """Return the sessions, as the server describes them."""
        with sense(self.path):
            return sessions_of(self._link.request("sessions")["sessions"])

    def status(self) -> dict[str, Any]:
        """Return totals, commands in flight and the server's CPU time."""
        with sense(self.path):
            return live_status_of(self._link.request("status")["status"])

    def probes(self) -> list[str]:
        """Return the names of the probes that somebody listens to now."""
        with sense(self.path):
            return [str(label) for label in self._link.request("probes")["enabled"]]

    def drop(self, session: str) -> None:
        """End a session. Raises TraceError when there is none of that identifier or this is not the control socket."""
        self._link.request("drop", session=session)

    def shut_down(self) -> None:
        """Ask the server to end cleanly, as SIGTERM does."""
        self._link.request("shutdown")

    def close(self) -> None:
        """Hang up."""
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Sums(WatchedServer):
    """Sums that the server keeps while this is open; they begin at 0 and cannot drop events.

    ``commands``: counts, bytes and latencies (``Snapshot.commands``); ``events``: how often each probe of ``probes``
    fired (``Snapshot.events``). ``histograms``: names of :mod:`iscsitools.trace.sums.declared`, what the rows are to
    have beside latencies; ``kept`` says which of them an older server does.
    """

    def __init__(
        self,
        name: str | None = None,
        socket: str | Path | None = None,
        *,
        commands: bool = True,
        events: bool = False,
        histograms: Iterable[str] = (),
        busy: bool = False,
        probes: Iterable[str] | None = None,
        client: str | None = None,
        target: str | None = None,
        lun: int | None = None,
    ) -> None:
        """Connect and begin. Raises as :func:`attach`."""
        selection = Selection(mask_of(probes), client, target, lun)
        super().__init__(name, socket)
        try:
            answer = self._link.request(
                "aggregate", commands=commands, events=events, histograms=list(histograms), busy=busy,
                **selection.to_json(),
            )  # fmt: skip
            with sense(self.path):
                self.kept = tuple(map(str, answer.get("histograms", {})))
                """The histograms that the server keeps."""
        except BaseException:
            self.close()
            raise

    def snapshot(self, reset: bool = False) -> Snapshot:
        """Read the sums, and the server's status; with ``reset`` the sums begin again from 0."""
        answer = self._link.request("snapshot", reset=reset)
        with sense(self.path):
            snapshot = Snapshot.from_json(answer["snapshot"])
            snapshot.status = live_status_of(answer["status"])
            return snapshot
