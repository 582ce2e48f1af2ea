"""What a backstore that several servers export tells and is asked: access states and reservations."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator, Mapping

import pytest

from iscsitools.backstores.ram import RamBackstore
from iscsitools.hookspecs import hookimpl
from iscsitools.initiator import Session
from iscsitools.scsi.core.registrations import Port, Registrations, ReservationType
from iscsitools.testing.serving import serve

ISCSITOOLS_API = 1
READ = bytes.fromhex("28000000000000000100")
REGISTER = bytes.fromhex("5f060000000000001800")
KEY = (7).to_bytes(8, "big")
STORES: list[SharedRam] = []


class SharedRam(RamBackstore):
    """A disk in memory of which this server is one of two heads, 1 and 2."""

    kind = "shared"
    blocking = True

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.states = {1: "standby", 2: "optimized"}
        self.text = ""
        self.kept: list[str] = []
        self.asked: list[Mapping[int, str]] = []
        self.error: OSError | None = None
        self.reading, self.go = threading.Event(), threading.Event()
        self.go.set()
        STORES.append(self)

    def try_read_into(self, offset: int, buffer: memoryview) -> bool:
        return False  # reads that may be held have no place on the loop

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.reading.set()
        self.go.wait()
        super().read_into(offset, buffer)

    @property
    def access(self) -> Mapping[int, str]:
        return self.states

    def request_access(self, states: Mapping[int, str]) -> None:
        self.asked.append(states)
        if self.error:
            raise self.error
        self.states = {1: "optimized", 2: "standby"}
        self.host.access_changed()

    @property
    def reservations(self) -> str:
        return self.text

    def keep_reservations(self, text: str) -> None:
        if self.error:
            raise self.error
        self.text = text
        self.kept.append(text)


@hookimpl
def register_backstores(register) -> None:  # type: ignore[no-untyped-def]
    register(SharedRam)


@pytest.fixture
def session() -> Iterator[Session]:
    import sys

    with serve("shared+delay:1M", plugins=(sys.modules[__name__],)) as served, served.connect() as session:
        session.command(bytes(6))
        yield session
    STORES.clear()


def test_the_groups_are_those_of_all_servers_and_standby_serves_nothing(session: Session) -> None:
    assert session.command(READ, read=512).sense_code == (2, 4, 0x0B)
    groups = session.command(bytes.fromhex("a30a00000000000000ff0000"), read=255).data
    assert [struct.unpack_from(">BxH", groups, at) for at in (4, 16)] == [(2, 1), (0, 2)]


def test_what_an_initiator_asks_for_the_store_brings_about(session: Session) -> None:
    store = STORES[-1]
    wanted = bytes(4) + struct.pack(">BxH", 0, 1)
    store.error = OSError(16, "not now")
    assert session.command(bytes.fromhex("a40a00000000000000080000"), write=wanted).status == 8
    store.error = None
    assert session.command(bytes.fromhex("a40a00000000000000080000"), write=wanted).good
    assert store.asked == [{1: "optimized"}] * 2
    assert session.command(READ, read=512).sense_code == (6, 0x2A, 6)  # access state changed
    assert session.command(READ, read=512).good


def test_a_state_that_the_store_takes_away_is_in_force_when_it_was_told(session: Session) -> None:
    store = STORES[-1]
    store.states = {1: "optimized", 2: "standby"}
    store.host.access_changed()
    session.command(bytes(6))
    assert session.command(READ, read=512).good
    store.states = {1: "standby", 2: "optimized", 3: "standby"}  # and there is a third head now
    telling = threading.Thread(target=store.host.access_changed)
    telling.start()
    telling.join()
    session.command(bytes(6))
    assert session.command(READ, read=512).sense_code == (2, 4, 0x0B)
    assert len(session.command(bytes.fromhex("a30a00000000000000ff0000"), read=255).data) == 4 + 3 * 12


def test_registrations_are_kept_by_the_store_also_in_standby(session: Session) -> None:
    store = STORES[-1]
    assert session.command(REGISTER, write=bytes(8) + KEY + bytes(8)).good
    assert len(store.kept) == 1
    assert "0x0000000000000007" in store.text
    store.error = OSError(16, "somebody was faster")
    assert session.command(REGISTER, write=bytes(8) + KEY + bytes(8)).status == 8


def test_reservations_of_another_server_hold_here(session: Session) -> None:
    store = STORES[-1]
    store.states = {1: "optimized", 2: "standby"}
    store.host.access_changed()
    session.command(bytes(6))
    assert session.command(REGISTER, write=bytes(8) + KEY + bytes(8)).good
    store.text = (
        store.text.replace("iqn.", "iqn.other.")
        .replace('"type": null', '"type": 3')
        .replace('"holder": null', '"holder": 0')
    )
    store.host.reservations_changed()
    assert session.command(READ, read=512).sense_code == REGISTRATIONS_PREEMPTED
    assert session.command(READ, read=512).status == 0x18


REGISTRATIONS_PREEMPTED, RESERVATIONS_PREEMPTED, RESERVATIONS_RELEASED = (6, 0x2A, 5), (6, 0x2A, 3), (6, 0x2A, 4)
STANDBY = (2, 4, 0x0B)


def told_by_another(store: SharedRam, change: Callable[[Registrations], object]) -> None:
    """What another server makes of the registrations, and tells."""
    state = Registrations.from_text(store.text)
    change(state)
    store.text = state.to_text() if state.keys else ""
    store.host.reservations_changed()


def test_who_loses_something_at_another_server_is_told_here(session: Session) -> None:
    store = STORES[-1]
    other, own = Port("iqn.other,i,0x000000000000", 2), 7

    def register() -> None:
        assert session.command(REGISTER, write=bytes(8) + KEY + bytes(8)).good

    register()
    told_by_another(store, lambda state: state.register([other], 9))
    assert session.command(bytes(6)).sense_code == STANDBY  # it has lost nothing
    told_by_another(store, lambda state: state.reserve(other, ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY))
    assert session.command(bytes(6)).sense_code == STANDBY
    told_by_another(store, lambda state: state.release())
    assert session.command(bytes(6)).sense_code == RESERVATIONS_RELEASED
    told_by_another(store, lambda state: state.preempt(other, own, ReservationType.WRITE_EXCLUSIVE))
    assert session.command(bytes(6)).sense_code == REGISTRATIONS_PREEMPTED
    assert session.command(bytes(6)).sense_code == STANDBY
    register()
    told_by_another(store, lambda state: state.clear())
    assert session.command(bytes(6)).sense_code == RESERVATIONS_PREEMPTED


@pytest.mark.parametrize("aborts", [False, True])
def test_preempt_and_abort_at_another_server_ends_tasks_here_and_preempt_does_not(
    session: Session, aborts: bool
) -> None:
    store = STORES[-1]
    store.states = {1: "optimized", 2: "standby"}
    store.host.access_changed()
    session.command(bytes(6))
    other = Port("iqn.other,i,0x000000000000", 2)
    assert session.command(REGISTER, write=bytes(8) + KEY + bytes(8)).good
    told_by_another(store, lambda state: state.register([other], 9))
    store.go.clear()
    held = session.start_command(READ, read=512)
    assert store.reading.wait(60)
    told_by_another(store, lambda state: state.preempt(other, 7, ReservationType.WRITE_EXCLUSIVE, aborts))
    store.go.set()
    assert session.command(bytes(6)).sense_code == REGISTRATIONS_PREEMPTED
    assert session.command(READ, read=512).good  # after the held one, in the only thread
    assert (held.result is None) is aborts
    told_by_another(store, lambda state: state.release())  # the flag is of one change only
    assert '"aborts"' not in store.text
