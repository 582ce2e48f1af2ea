"""What is to be done to a medium is kept until it is done."""

from __future__ import annotations

import json

import pytest

from iscsitools.scsi.core.executor import InlineExecutor
from iscsitools.scsi.sbc.sanitize import Sanitation

from .sanitizing import EncryptedStore, pattern, sanitize
from .support import READ, TUR, Bench, MemoryStore

SENSE = "030000001200"
BLOCK_ERASE, OVERWRITE, CRYPTO_ERASE, EXIT = 2, 1, 3, 0x1F
IMMED, AUSE = 0x80, 0x20
IN_PROGRESS, FAILED = (2, 0x041B), (3, 0x3103)


def kept_text(disk: str, action: int) -> str:
    return json.dumps({"disk": disk, "action": action, "may_leave": False, "pattern": "", "count": 1, "invert": False})


class Place:
    """Keeps a text in memory; ``error`` is raised instead. ``calls``: the store's, when a text was kept."""

    def __init__(self, text: str = "") -> None:
        self.executor = InlineExecutor()
        self.text = text
        self.error: OSError | None = None
        self.number = 0

    def keep(self, number: int, text: str) -> None:
        if self.error is not None:
            raise self.error
        assert number > self.number
        self.number, self.text = number, text


def kept_bench(place: Place, store: MemoryStore | None = None) -> Bench:
    """A unit whose disk outlives the server, as a start makes it."""
    if store is None:
        store = MemoryStore(blocks=8192, blocking=True)
        store.data[:] = b"\x11" * len(store.data)
    bench = Bench(store)
    bench.executor.begins = False
    state = Sanitation.of(bench.unit)
    if place.text:
        state.take_kept(place.text)
    state.place = place
    state.served()
    return bench


@pytest.mark.parametrize("immediate", [0, IMMED])
def test_what_is_to_be_done_is_kept_until_it_is_done(immediate):
    place = Place()
    bench = kept_bench(place)
    a = bench.initiator()
    written = pattern(0x82, b"abc")
    task = a.send(sanitize(immediate | OVERWRITE, len(written)), written)
    assert (task in a.ended) is bool(immediate)
    assert place.text
    assert not bench.store.calls, "no block changes before that"
    kept = place.text
    bench.finish()
    assert (task.status, place.text) == (0, "")
    assert a.run(TUR).good

    bench = kept_bench(Place(kept))
    a = bench.initiator(quiet=False)
    assert a.send(TUR).sense[12:14] == b"\x29\0"
    assert a.send(READ).sense[12:14] == b"\x04\x1b"
    bench.finish()
    assert bench.store.data[:6] == bytes(b ^ 0xFF for b in b"abcabc")
    assert a.run(TUR).good


def test_a_change_of_the_key_that_was_broken_off_is_done_at_the_next_start():
    place = Place()
    bench = kept_bench(place, EncryptedStore(blocks=8192, blocking=True))
    assert bench.initiator().send(sanitize(IMMED | CRYPTO_ERASE)).status == 0
    assert not bench.store.calls
    kept = place.text
    bench = kept_bench(Place(kept), EncryptedStore(blocks=8192, blocking=True))
    a = bench.initiator(quiet=False)
    a.send(TUR)
    assert a.send(READ).sense[12:14] == b"\x04\x1b"
    bench.finish()
    assert bench.store.calls == ["flush", "crypto_erase"]
    assert a.run(TUR).good


def test_what_cannot_be_kept_is_not_begun():
    place = Place()
    bench = kept_bench(place)
    place.error = OSError(28, "full")
    a = bench.initiator()
    assert a.send(sanitize(IMMED | BLOCK_ERASE)).sense[12:14] == b"\x27\x07"
    bench.finish()
    assert set(bench.store.data) == {0x11}
    assert a.run(TUR).good


def test_what_cannot_be_kept_leaves_the_failure_of_the_one_before():
    """Else half of what was to be made unreadable could be read again, by a command that has failed."""
    place = Place()
    bench = kept_bench(place)
    a = bench.initiator()
    a.send(sanitize(IMMED | AUSE | BLOCK_ERASE))
    bench.store.error = OSError(5, "broken")
    bench.finish()
    bench.store.error = None
    assert a.run(TUR).code == FAILED
    place.error = OSError(28, "full")
    assert a.send(sanitize(IMMED | BLOCK_ERASE)).sense[12:14] == b"\x27\x07"
    bench.finish()
    assert (a.run(TUR).code, a.run(READ).code) == (FAILED, FAILED)
    place.error = None
    assert a.run(sanitize(EXIT)).good, "as AUSE of the first one says"


def test_what_cannot_be_forgotten_has_failed():
    """Else the next start would erase what is written after it."""
    place = Place()
    bench = kept_bench(place)
    a = bench.initiator()
    a.send(sanitize(IMMED | AUSE | BLOCK_ERASE))
    place.error = OSError(28, "full")
    bench.finish()
    assert a.run(TUR).code == FAILED
    assert a.send(sanitize(EXIT)).status == 2
    assert a.run(TUR).code == FAILED
    place.error = None
    bench = kept_bench(place)
    a = bench.initiator()
    bench.store.error = OSError(5, "broken")
    bench.finish()
    bench.store.error = None
    assert a.run(TUR).code == FAILED
    assert a.run(sanitize(EXIT)).good
    assert (place.text, a.run(TUR).good) == ("", True)


@pytest.mark.parametrize("blocking", [False, True])
def test_a_unit_that_is_removed_ends_it_at_the_next_step(blocking):
    bench = Bench(MemoryStore(blocks=8192, blocking=blocking))
    bench.executor.begins = False
    a = bench.initiator()
    a.send(sanitize(IMMED | BLOCK_ERASE))
    done = len(bench.store.calls)
    bench.device.remove_unit(0)
    bench.finish()
    assert len(bench.store.calls) == done
    assert list(bench.unit.tasks) == []


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        kept_text("x", 2),
        kept_text("memory:, 131072 bytes", 1),
        kept_text("memory:, 131072 bytes", 9),
    ],
)
def test_what_is_no_operation_or_of_another_disk_is_refused(text):
    with pytest.raises(ValueError, match=r"\w"):
        Sanitation.of(Bench().unit).take_kept(text)
