"""What readers may ask for, and what each of them has attached."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from iscsitools.probes.firing import Probes
from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.probes.table import Probe
from iscsitools.trace import memory
from iscsitools.trace.feed.batch import FLUSH_SECONDS, BatchSink
from iscsitools.trace.feed.budget import SharedBudget
from iscsitools.trace.feed.event_loop import EventLoop
from iscsitools.trace.feed.peer import Peer
from iscsitools.trace.feed.questions import ControlHandler, SelfDescription
from iscsitools.trace.feed.ring import RingSink
from iscsitools.trace.feed.sink import Sink
from iscsitools.trace.protocol import HEADER, Message, ReaderLimits, encode, encode_list
from iscsitools.trace.record import SIZE
from iscsitools.trace.selection import Selection
from iscsitools.trace.sums import declared
from iscsitools.trace.sums.counts import EventCounts
from iscsitools.trace.sums.shared import Share, SharedSums
from iscsitools.trace.sums.snapshot import take

_FEWEST_RECORDS: Final = 512
_CONTROL_ONLY: Final = "only the control socket takes this request"


class Refused(Exception):
    """A request cannot be granted; the text is the answer."""


@dataclass(slots=True)
class _ReaderSums:
    """What one reader has the server keep for it."""

    commands: Share | None
    events: EventCounts | None
    since: int


class ReaderRequests:
    """Answers requests. ``clock`` is the probes' clock."""

    def __init__(
        self, probes: Probes, loop: EventLoop, limits: ReaderLimits, state: SelfDescription, clock: Callable[[], int],
        control: ControlHandler | None = None,
    ) -> None:  # fmt: skip
        self._probes = probes
        self._loop = loop
        self._limits = limits
        self._state = state
        self._clock = clock
        self._control = control
        self.budget = SharedBudget(limits.units_of_all, loop)
        self._sinks: dict[Peer, Sink] = {}
        self._sums: dict[Peer, _ReaderSums] = {}
        self._shared = SharedSums(probes)
        self.memory = 0
        """Bytes of all rings and buffers."""
        self._costs: dict[Peer, int] = {}
        self._drops = 0
        """Events that readers lost who are gone."""
        self._handlers: dict[str, Callable[[Peer, Message], Message | None]] = {
            "attach": self._attach,
            "aggregate": self._aggregate,
            "snapshot": self._snapshot,
            "sessions": self._sessions,
            "status": lambda peer, message: {"status": self._state.status()},
            "probes": self._enabled,
            "drop": self._drop,
            "shutdown": self._shut_down,
        }

    def handle(self, peer: Peer, message: Message) -> None:
        """Answer one request."""
        name = message.get("request")
        if self._control is not None and isinstance(name, str) and name in self._control.requests:
            self._take_control(peer, message, self._control)
            return
        handler = self._handlers.get(name) if isinstance(name, str) else None
        if handler is None:
            peer.send_message({"error": "no such request"})
            return
        try:
            answer = handler(peer, message)
        except (Refused, ValueError) as error:
            peer.send_message({"error": str(error)})
            return
        if answer is not None:
            peer.send_message({"answer": name, **answer})

    def _take_control(self, peer: Peer, message: Message, control: ControlHandler) -> None:
        if not peer.control:
            peer.send_message({"error": _CONTROL_ONLY})
            return
        peer.hold()
        control.take(message, peer)

    @property
    def drops(self) -> int:
        """Events that readers lost because they were too slow."""
        return self._drops + sum(sink.drops for sink in self._sinks.values())

    def connection_closed(self, ident: int) -> None:
        """Pass on that a connection is no more."""
        for sink in list(self._sinks.values()):
            sink.connection_closed(ident)
        self._shared.close(ident)
        for sums in self._sums.values():
            if sums.events is not None:
                sums.events.close(ident)

    def held(self) -> list[tuple[ConnectionInfo, int]]:
        """What the sums keep for commands that have not ended: each connection, and bytes."""
        return self._shared.held()

    def flush(self) -> None:
        """Send readers over sockets what they can take now: the server is about to end."""
        for sink in self._sinks.values():
            sink.flush()

    def let_go(self, peer: Peer) -> None:
        """Take down what a reader that is gone had attached."""
        sums = self._sums.pop(peer, None)
        if sums is not None and sums.commands is not None:
            sums.commands.leave()
        if sums is not None and sums.events is not None:
            self._probes.subscribe(0, sums.events)
        sink = self._sinks.pop(peer, None)
        if sink is not None:
            self._probes.subscribe(0, sink)
            self._drops += sink.drops
            sink.release()
        self.memory -= self._costs.pop(peer, 0)

    def _only_once(self, peer: Peer) -> None:
        if peer in self._sinks or peer in self._sums:
            raise Refused("this connection has something attached already")

    def _attach(self, peer: Peer, message: Message) -> Message | None:
        self._only_once(peer)
        selection = Selection.from_json(message)
        mode, records = message.get("mode"), message.get("records")
        if mode not in ("ring", "socket"):
            raise Refused("mode is neither ring nor socket")
        if not isinstance(records, int) or records < _FEWEST_RECORDS or records & records - 1:
            raise Refused(f"records is not a power of two from {_FEWEST_RECORDS} on")
        if records * SIZE > self._limits.ring_bytes:
            raise Refused(f"the ring is larger than the limit of {self._limits.ring_bytes} bytes")
        rings = 1 + self._probes.threads if mode == "ring" and message.get("merges") is True else 1
        while rings * records * SIZE > self._limits.ring_bytes and records > _FEWEST_RECORDS:
            records //= 2
        cost = rings * (records * SIZE + HEADER) + memory.PAGE
        if self.memory + cost > self._limits.total_bytes:
            raise Refused(f"all readers' rings together would pass the limit of {self._limits.total_bytes} bytes")
        sink = (
            self._ring(peer, selection, records, rings) if mode == "ring" else self._batches(peer, selection, records)
        )
        if sink is None:
            return None
        self._sinks[peer] = sink
        self._costs[peer] = cost
        self.memory += cost
        for conn in self._state.connections():
            sink.introduce_early(conn)

        def begin() -> None:
            self._probes.subscribe(selection.effective_mask, sink)
            several = {"rings": rings} if rings > 1 else {}
            peer.send_message({"answer": "attach", "mode": mode, "records": records, **several})

        # Not before the strings of all connections are on their way: later ones have to find room in the socket.
        peer.when_idle(begin)
        return None

    def _ring(self, peer: Peer, selection: Selection, records: int, rings: int) -> Sink | None:
        if reason := memory.why_no_rings():
            raise Refused(f"no ring: {reason}")
        try:
            sink = RingSink(selection, records, peer.send_message, peer.send_now, peer.close_soon, rings)
        except OSError as error:
            raise Refused(f"no ring: {error.strerror}") from None
        sent = peer.send_fds({"ring": records}, sink.fds)
        sink.forget_fds()
        if not sent:
            sink.release()
            return None
        return sink

    def _batches(self, peer: Peer, selection: Selection, records: int) -> Sink:
        def later(flush: Callable[[], None]) -> None:
            self._loop.call_later(FLUSH_SECONDS, flush)

        return BatchSink(selection, records, peer, peer.close_soon, later)

    def _sessions(self, peer: Peer, message: Message) -> None:
        parts = encode_list(self._state.sessions())
        peer.send_in_turns(chain((b'{"answer":"sessions","sessions":',), parts, (b"}\n",)))

    def _aggregate(self, peer: Peer, message: Message) -> Message:
        self._only_once(peer)
        commands, events = message.get("commands", True), message.get("events", False)
        if not isinstance(commands, bool) or not isinstance(events, bool) or not (commands or events):
            raise Refused("commands and events are not true or false, or both are false")
        histograms = declared.wanted(message.get("histograms", [])) if commands else ()
        busy = commands and message.get("busy") is True
        selection = Selection.from_json(message)
        sums = self._sums[peer] = _ReaderSums(
            self._shared.join(selection, histograms, busy) if commands else None,
            EventCounts(selection) if events else None,
            self._clock(),
        )
        if sums.events is not None:
            self._probes.subscribe(sums.events.mask, sums.events)
        return {"histograms": declared.described(histograms)}

    def _snapshot(self, peer: Peer, message: Message) -> None:
        sums = self._sums.get(peer)
        if sums is None:
            raise Refused("nothing is being summed up for this connection")
        reset = message.get("reset") is True
        now = self._clock()
        snapshot = take(sums.since, now, sums.commands, sums.events, reset)
        if reset:
            sums.since = now
        status = encode(self._state.status()).strip()
        head = b'{"answer":"snapshot","status":%b,"snapshot":' % status
        peer.send_in_turns(chain((head,), snapshot.to_parts(), (b"}\n",)))

    def _enabled(self, peer: Peer, message: Message) -> Message:
        return {"enabled": [p.label for p in Probe if self._probes.mask >> p & 1]}

    def _need_control(self, peer: Peer) -> None:
        if not peer.control:
            raise Refused(_CONTROL_ONLY)

    def _drop(self, peer: Peer, message: Message) -> Message:
        self._need_control(peer)
        session: Any = message.get("session")
        if not isinstance(session, str):
            raise Refused("session is not a text")
        if not self._state.drop(session):
            raise Refused(f"there is no session {session!r}")
        return {}

    def _shut_down(self, peer: Peer, message: Message) -> Message:
        self._need_control(peer)
        self._state.shut_down()
        return {}


def greeting(name: str, pid: int, version: str) -> Message:
    """Describe the server, with both clocks at one time so that readers can tell an event's time of day."""
    return {
        "name": name,
        "pid": pid,
        "version": version,
        "monotonic": time.monotonic_ns(),
        "realtime": time.time_ns(),
    }
