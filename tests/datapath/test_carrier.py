"""READs and WRITEs that a plugin takes in C: their order, who has to see them, and every way in which they end."""

from __future__ import annotations

import errno
import gc
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from server.harness import eventually
from support.guide import examples, module_of
from support.native import needs_data_path

from iscsitools.backstores.base import Operation
from iscsitools.backstores.carrier import carrier_of
from iscsitools.hookspecs import hookimpl
from iscsitools.initiator import Session, Task
from iscsitools.testing.fixtures import served as served
from iscsitools.testing.serving import IQN, serve
from iscsitools.wire.scsi import ManagementFunction

from . import carried_disk
from .carried_disk import CarriedDisk, Held
from .test_flights import ORDERED, TUR, WRITE_SAME, cdb, read16, run_wave, stays_open, write16

BUSY, NOT_READY, MEDIUM_ERROR = 8, 2, 3
OLD, NEW = b"o" * 4096, b"w" * 4096
Served = Callable[..., Session]


@pytest.fixture(autouse=True, scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> None:
    needs_data_path()
    CarriedDisk.module = carried_disk.build(tmp_path_factory.mktemp("carried"))


@pytest.fixture
def session(served: Served) -> Session:
    session = served("carried:x,block_size=4096", plugins=(carried_disk,))
    session.command(TUR)
    assert session.command(read16(9, 1), read=4096).data == OLD  # its gate is open
    return session


@pytest.fixture
def store(session: Session) -> CarriedDisk:
    store = CarriedDisk.stores[-1]
    store.requests.clear()
    return store


@pytest.fixture
def held(store: CarriedDisk) -> Iterator[Held]:
    with store.held() as held:
        yield held


def begin(session: Session, store: CarriedDisk, held: Held, lba: int, data: bytes | None = None) -> Task:
    """A command on one block that the plugin has, and keeps."""
    before = store.flights
    held.divert()
    if data is None:
        task = session.start_command(read16(lba, 1), read=4096)
    else:
        task = session.start_command(write16(lba, 1), write=data)
    eventually(lambda: store.flights == before + 1)
    held.back()
    return task


def test_answers_come_as_the_plugin_brings_them_and_python_sees_none(
    session: Session, store: CarriedDisk, held: Held
) -> None:
    slow = begin(session, store, held, 0)
    assert session.command(read16(1, 2), read=8192).data == OLD * 2
    assert session.command(write16(3, 1), write=NEW).good
    assert store.memory[3 * 4096 : 4 * 4096] == NEW
    assert stays_open(session, slow)
    held.release()
    assert session.wait(slow).data == OLD
    assert store.requests == []
    assert store.flights == 0


def test_what_ends_within_submit_is_answered(session: Session, store: CarriedDisk) -> None:
    store.disk.set(False, True, 0)
    for lba in range(8):
        assert session.command(write16(lba, 1), write=bytes([lba]) * 4096).good
        assert session.command(read16(lba, 1), read=4096).data == bytes([lba]) * 4096
    assert store.requests == []


def test_a_read_waits_for_the_write_that_waits(session: Session, store: CarriedDisk, held: Held) -> None:
    slow = begin(session, store, held, 4)
    write = session.start_command(write16(4, 2), write=NEW * 2)
    behind = session.start_command(read16(3, 2), read=8192)
    eventually(lambda: store.flights == 3)
    assert stays_open(session, write)
    assert stays_open(session, behind)
    assert store.memory == b"o" * carried_disk.SIZE
    held.release()
    assert session.wait(slow).data == OLD
    assert session.wait(write).good
    assert session.wait(behind).data == OLD + NEW
    assert store.requests == []


def test_one_that_has_waited_and_is_refused_then_goes_by_python(
    session: Session, store: CarriedDisk, held: Held
) -> None:
    slow = begin(session, store, held, 4)
    waiting = [session.start_command(write16(4, 1), write=bytes([n]) * 4096) for n in range(3)]
    eventually(lambda: store.flights == 4)
    store.disk.set(False, False, errno.EBUSY)
    held.release()
    assert session.wait(slow).data == OLD
    for task in waiting:
        assert session.wait(task).status == BUSY
    assert store.errors == [-errno.EBUSY] * 3
    assert store.flights == 0


def test_what_is_refused_at_once_goes_by_python(session: Session, store: CarriedDisk) -> None:
    store.disk.set(False, False, errno.ENODEV)
    assert session.command(write16(1, 1), write=NEW).good
    assert session.command(read16(1, 1), read=4096).data == NEW
    assert store.requests == [Operation.WRITE, Operation.READ]


@pytest.mark.parametrize(
    ("number", "status", "sense"),
    [(errno.EBUSY, BUSY, None), (errno.ENODEV, 2, NOT_READY), (errno.EIO, 2, MEDIUM_ERROR)],
)
@pytest.mark.parametrize("data", [None, NEW])
def test_an_error_is_the_one_that_python_makes_of_it(
    session: Session, store: CarriedDisk, held: Held, data: bytes | None, number: int, status: int, sense: int | None
) -> None:
    slow = begin(session, store, held, 4, data)
    held.release(result=-number)
    result = session.wait(slow)
    assert result.status == status
    assert sense is None or result.sense_code[0] == sense
    assert store.errors == [-number]
    assert session.command(read16(4, 1), read=4096).data == OLD


@pytest.mark.parametrize("attribute", [1, ORDERED])
def test_a_task_waits_for_what_it_overlaps(session: Session, store: CarriedDisk, held: Held, attribute: int) -> None:
    slow = begin(session, store, held, 4)
    same = session.start_command(cdb(WRITE_SAME, 4, 1), write=b"s" * 4096, attribute=attribute)
    assert stays_open(session, same)
    assert store.memory == b"o" * carried_disk.SIZE
    held.release()
    assert session.wait(slow).data == OLD
    assert session.wait(same).good
    assert session.command(read16(4, 1), read=4096).data == b"s" * 4096


def test_fua_is_said(session: Session, store: CarriedDisk) -> None:
    assert session.command(write16(1, 1), write=NEW).good
    assert store.disk.durable == 0
    assert session.command(write16(1, 1, fua=True), write=NEW).good
    assert store.disk.durable == 1
    assert session.command(cdb(0x88, 1, 1, 8), read=4096).data == NEW
    assert store.requests == []


def test_an_aborted_one_keeps_its_blocks(session: Session, store: CarriedDisk, held: Held) -> None:
    slow = begin(session, store, held, 4, NEW)
    response = session.manage(ManagementFunction.ABORT_TASK, rtt=slow.itt, ref_cmd_sn=session.cmd_sn - 1)
    assert response.bhs[2] == 0  # function complete: there was such a task
    write = session.start_command(write16(4, 1), write=b"v" * 4096)
    assert stays_open(session, write)
    held.release()
    assert session.wait(write).good
    assert slow.result is None
    assert store.memory[4 * 4096 : 5 * 4096] == b"v" * 4096


@pytest.mark.parametrize("function", [ManagementFunction.LOGICAL_UNIT_RESET, ManagementFunction.ABORT_TASK_SET])
def test_a_reset_ends_it(session: Session, store: CarriedDisk, held: Held, function: ManagementFunction) -> None:
    slow = begin(session, store, held, 4)
    assert session.manage(function).bhs[2] == 0
    session.command(TUR)
    assert held.release() == 1
    assert session.command(read16(4, 1), read=4096).data == OLD
    assert slow.result is None


def test_a_session_that_ends_leaves_the_memory_to_the_plugin(store: CarriedDisk, session: Session, held: Held) -> None:
    begin(session, store, held, 4)
    begin(session, store, held, 5, NEW)
    session.close()
    gc.collect()
    assert store.flights == 2
    held.release()
    eventually(lambda: store.flights == 0)
    assert store.memory[5 * 4096 : 6 * 4096] == NEW


def test_a_server_that_ends_waits_for_the_plugin_no_longer_than_for_others() -> None:
    with serve("carried:x,block_size=4096", plugins=(carried_disk,)) as served, served.connect() as session:
        session.command(TUR)
        store = CarriedDisk.stores[-1]
        with store.held() as held:
            begin(session, store, held, 4, NEW)
            held.release()
    assert store.memory[4 * 4096 : 5 * 4096] == NEW


@pytest.mark.parametrize("digests", ["None", "CRC32C"])
@pytest.mark.parametrize("within", [False, True])
def test_many_at_a_time_are_what_a_model_says(digests: str, within: bool) -> None:
    with serve("carried:x,block_size=4096", plugins=(carried_disk,)) as served:
        store = CarriedDisk.stores[-1]
        store.disk.set(False, within, 0)
        content = [OLD] * 256
        with Session.connect(served.address, IQN, digests=digests) as session:
            session.command(TUR)
            for seed in range(20):
                run_wave(session, random.Random(seed), content)
        assert store.disk.submitted > 100
        assert store.memory == b"".join(content)


def test_two_initiators_have_their_own_answers() -> None:
    with (
        serve("carried:x,block_size=4096", plugins=(carried_disk,)) as served,
        Session.connect(served.address, IQN) as session,
        Session.connect(served.address, IQN, isid=0x400001370001) as other,
    ):
        session.command(TUR)
        other.command(TUR)
        store = CarriedDisk.stores[-1]
        with store.held() as held:
            mine = begin(session, store, held, 4, NEW)
            theirs = other.start_command(read16(4, 1), read=4096)
            eventually(lambda: store.flights == 2)
            assert stays_open(other, theirs)
            held.release()
            assert session.wait(mine).good
            assert other.wait(theirs).data == NEW


def test_a_version_that_is_not_known_goes_by_python(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CarriedDisk, "version", "iscsitools.carrier.99")
    session = served("carried:x,block_size=4096", plugins=(carried_disk,))
    session.command(TUR)
    assert session.command(read16(9, 1), read=4096).data == OLD
    store = CarriedDisk.stores[-1]
    assert store.carrier is None
    assert store.requests == [Operation.READ]


def test_the_guides_way_runs(served: Served, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guide = next(code for code in examples(project, "writing-a-backstore.md") if "class InC" in code)
    offer = module_of(guide).InC

    class Guided(CarriedDisk):
        kind = "guided"
        _carrier = None
        shortcut, _ended = offer.shortcut, offer._ended

        def open(self) -> None:
            super().open()
            self.module = SimpleNamespace(capsule=self.disk.capsule, reap=super().reap)

        def reap(self) -> None:
            offer.reap(self)

    plugin = ModuleType("guided")
    plugin.ISCSITOOLS_API, plugin.register_backstores = (
        1,
        hookimpl(  # type: ignore[attr-defined]
            lambda register: register(Guided), specname="register_backstores"
        ),
    )
    session = served("guided:x,block_size=4096", plugins=(plugin,))
    session.command(TUR)
    assert session.command(write16(9, 1), write=NEW).good
    CarriedDisk.stores[-1].requests.clear()
    assert session.command(read16(9, 1), read=4096).data == NEW
    assert CarriedDisk.stores[-1].requests == []


def test_what_is_no_capsule_is_refused() -> None:
    assert carrier_of(object(), 0, lambda request, result: None) is None


def test_the_plugin_has_the_same_interface(project: Path) -> None:
    own = project / "datapath" / "carrier_interface.h"
    assert (project / "plugins/iscsitools-rbd/native/carrier_interface.h").read_bytes() == own.read_bytes()
