"""Filters that are changed while they serve."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from iscsitools.backstores.base import Allocation, Backstore, BackstoreError, Filter, MediumError, Setting
from iscsitools.backstores.caller import call_for, caller

from .conftest import read

Opened = Callable[..., Backstore]
BUFFER = memoryview(bytearray(512))
DATA = memoryview(bytes(512))


def filter_of(store: Backstore) -> Filter:
    assert isinstance(store, Filter)
    return store


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seconds: list[float] = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    return seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_delay_that_begins_and_ends(opened: Opened, waited: list[float]) -> None:
    delay = filter_of(opened("ram+delay:1M"))
    assert delay.settings() == ()
    assert delay.try_read_into(0, BUFFER)
    delay.configure({"read": "20ms", "flush": "1s"})
    assert list(delay.settings()) == [Setting("read", 0.02), Setting("flush", 1.0)]
    assert delay.blocking
    assert not delay.try_read_into(0, BUFFER)
    read(delay, 0, 512)
    delay.write(0, DATA)
    delay.flush()
    assert waited == [0.02, 1.0]
    delay.configure({"read": "30ms"})
    read(delay, 0, 512)
    assert waited.pop() == 0.03
    delay.clear(["read"])
    assert list(delay.settings()) == [Setting("flush", 1.0)]
    assert delay.blocking, "a flush that waits needs threads"
    assert delay.try_read_into(0, BUFFER)
    delay.clear()
    assert delay.settings() == ()
    assert not delay.blocking
    assert delay.try_read_into(0, BUFFER)


def test_what_the_spec_says_is_in_force_again_after_a_clear(opened: Opened, waited: list[float]) -> None:
    delay = filter_of(opened("ram+delay:1M,delay.read=5ms"))
    assert list(delay.settings()) == [Setting("read", 0.005)]
    delay.configure({"read": "0"})
    read(delay, 0, 512)
    assert waited == []
    delay.clear()
    read(delay, 0, 512)
    assert waited == [0.005]


def test_a_setting_for_a_while(opened: Opened, waited: list[float], clock: list[float]) -> None:
    delay = filter_of(opened("ram+delay:1M"))
    delay.configure({"write": "1ms"}, seconds=10)
    delay.configure({"read": "2ms"}, seconds=20)
    assert [s.until for s in delay.settings()] == [1010.0, 1020.0]
    clock[0] += 10
    delay.write(0, DATA)
    assert waited == []
    assert delay.passes_writes
    assert not delay.try_read_into(0, BUFFER)
    clock[0] += 10
    assert delay.settings() == ()
    assert delay.try_read_into(0, BUFFER)


def test_a_setting_for_some_clients(opened: Opened, waited: list[float]) -> None:
    delay = filter_of(opened("ram+delay:1M"))
    delay.configure({"read": "1s"}, client="IQN.2026-11.example:db*")
    delay.configure({"read": "2s"}, client="iqn.2026-11.example:db2")
    assert not delay.try_read_into(0, BUFFER), "the event loop does not know for whom it reads"
    for name in ("", "iqn.2026-11.example:web", "iqn.2026-11.example:db1", "iqn.2026-11.example:db2"):
        call_for(name, lambda: delay.read_into(0, BUFFER))
    assert waited == [1.0, 2.0]
    delay.clear(client="iqn.2026-11.example:DB2")
    assert [s.client for s in delay.settings()] == ["iqn.2026-11.example:db*"]


def test_a_failing_client_has_a_thread_though_errors_do_not_block(opened: Opened) -> None:
    error = filter_of(opened("ram+error:1M"))
    error.configure({"read": "100%"}, client="iqn.a")
    assert error.blocking
    assert not error.try_read_into(0, BUFFER)
    with pytest.raises(MediumError):
        call_for("iqn.a", lambda: error.read_into(0, BUFFER))
    call_for("iqn.b", lambda: error.read_into(0, BUFFER))
    assert caller() == ""
    error.clear()
    error.configure({"read": "100%"})
    assert not error.blocking
    with pytest.raises(MediumError):
        error.try_read_into(0, BUFFER)


def test_errors_of_a_range_and_by_name(opened: Opened) -> None:
    error = filter_of(opened("ram+error:1M"))
    error.configure({"range": "8K+512", "errno": "ENOSPC"})
    error.write(0, DATA)
    with pytest.raises(OSError, match="No space"):
        error.try_write(8192, DATA)
    error.clear(["range"])
    assert error.try_write(8192, DATA)


def test_errors_repeat_by_a_seed_that_is_set(opened: Opened) -> None:
    error = filter_of(opened("ram+error:1M"))

    def outcomes() -> list[bool]:
        error.configure({"read": "50%", "seed": "7"})
        found = []
        for _ in range(64):
            try:
                error.read_into(0, BUFFER)
                found.append(True)
            except MediumError:
                found.append(False)
        return found

    first = outcomes()
    assert first == outcomes()
    assert len(set(first)) == 2


def test_the_fast_path_and_unmap_come_through_while_nothing_is_set(opened: Opened) -> None:
    store = opened("ram+error+delay:1M")
    store.write(0, memoryview(bytes(1 << 20)))
    assert not store.blocking
    assert store.try_write(0, DATA)
    store.discard(0, 1 << 20)
    assert [e.state for e in store.extents(0, 1 << 20)] == [Allocation.HOLE]
    filter_of(filter_of(store).inner).configure({"write": "1%"}, client="x")
    assert store.blocking, "what waits below waits above"
    assert not store.try_write(0, DATA)


@pytest.mark.parametrize(
    ("values", "how", "complaint"),
    [
        ({"raed": "1s"}, {}, "the filter delay has no option 'raed'; did you mean 'read'?"),
        ({"read": "soon"}, {}, "delay.read: 'soon' is no duration"),
        ({"write": "1s", "read": "soon"}, {}, "delay.read: 'soon' is no duration"),
        ({"read": "1s"}, {"seconds": 0}, "0 seconds are no time"),
        ({"read": "1s"}, {"seconds": float("nan")}, "nan seconds are no time"),
    ],
)
def test_what_is_wrong_changes_nothing(
    opened: Opened, values: dict[str, str], how: dict[str, float], complaint: str
) -> None:
    delay = filter_of(opened("ram+delay:1M"))
    with pytest.raises(BackstoreError) as caught:
        delay.configure(values, **how)
    assert complaint in str(caught.value)
    assert delay.settings() == ()


def test_a_name_that_cannot_be_cleared_and_a_filter_that_cannot_be_changed(opened: Opened) -> None:
    with pytest.raises(BackstoreError, match="no option 'nothing'"):
        filter_of(opened("ram+delay:1M")).clear(["nothing"])
    readonly = filter_of(opened("ram+readonly:1M"))
    assert readonly.settings() == ()
    with pytest.raises(BackstoreError, match="readonly cannot be changed while it serves"):
        readonly.configure({"x": "1"})


def test_settings_change_under_calls(opened: Opened) -> None:
    """Calls in threads go on whatever is set meanwhile, and none is lost."""
    error = filter_of(opened("ram+error+delay:1M"))
    finished = threading.Event()
    surprises: list[BaseException] = []

    def work() -> None:
        while not finished.is_set():
            try:
                call_for("iqn.a", lambda: error.read_into(0, memoryview(bytearray(512))))
            except MediumError:
                pass
            except BaseException as caught:
                surprises.append(caught)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(300):
        inner = filter_of(error.inner)
        inner.configure({"read": f"{number % 100}%"}, client="iqn.*" if number % 2 else "", seconds=0.001)
        error.configure({"read": "10us"})
        if number % 3 == 0:
            inner.clear()
            error.clear()
    finished.set()
    for thread in threads:
        thread.join()
    assert surprises == []
