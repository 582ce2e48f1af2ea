"""What the tests of the provider's rules share: the units they use, and the events of a piece of work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from support.target import RunningTarget

from iscsitools.initiator import Session
from iscsitools.probes.table import Probe
from iscsitools.trace import Event, attach

from .commands import watch_socket

TARGET = "iqn.2026-11.example:rules"
QUICK, SLOW, FAR, FILE = 0, 1, 300, 4
HUNDRED = 100 * 512


@contextmanager
def watched(target: RunningTarget) -> Iterator[Callable[[], list[Event]]]:
    """A function that returns the events so far; it ends with those of a login that marks the place."""
    with attach(socket=watch_socket(target)) as trace:
        seen: list[Event] = []

        def events() -> list[Event]:
            with Session.connect(target.addresses[0], TARGET, initiator="iqn.2026-11.example:mark", isid=0x40) as mark:
                own = f"127.0.0.1:{mark.wire.sock.getsockname()[1]}"
            while not any(e.conn.remote == own and e.conn.initiator and e.probe is Probe.LOGIN_RESPONSE for e in seen):
                seen.extend(trace.poll(30))
            return [event for event in seen if not event.conn.initiator.endswith(":mark")]

        yield events


def settled(target: RunningTarget, address: int = 0, isid: int = 0x400001370000) -> Session:
    """A session whose unit attentions are over."""
    session = Session.connect(target.addresses[address], TARGET, isid=isid)
    for lun in (QUICK, SLOW, FAR, FILE):
        session.read_capacity(lun)
    return session


def of(events: list[Event], probe: Probe, itt: int) -> list[Event]:
    return [event for event in events if event.probe is probe and event.info.itt == itt]
