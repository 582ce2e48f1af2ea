"""MODE SENSE and MODE SELECT."""

from __future__ import annotations

import errno

import pytest

from iscsitools.scsi.core.executor import InlineExecutor
from iscsitools.scsi.spc.mode_pages import CACHING as CACHING_PAGE
from iscsitools.scsi.spc.mode_pages import CONTROL as CONTROL_PAGE
from iscsitools.scsi.spc.mode_pages import ModePages

from .support import Bench, MemoryStore

CACHING = "0812040000000000000000000000000000000000"
NOT_CACHED = "0812" + "00" * 18
CONTROL = "0a0a00100000000000000000"


def test_all_pages_fit_one_byte_of_length():
    data = Bench().initiator().run("1a003f00ff00").data
    assert data[0] == len(data) - 1 < 255
    assert data[:12].hex() == f"{len(data) - 1:02x}001008" + "0000010000000200"
    codes, at = [], 12
    while at < len(data):
        codes.append(data[at])
        at += 2 + data[at + 1]
    assert (codes, at) == ([0x01, 0x02, 0x08, 0x0A, 0x1C], len(data))


@pytest.mark.parametrize(
    ("cdb", "answer"),
    [
        ("1a080800ff00", "17001000" + CACHING),
        ("1a084800ff00", "17001000" + "0812040000000000000000000000000000000000"),
        ("1a080a00ff00", "0f001000" + CONTROL),
        ("1a084a00ff00", "0f001000" + "0a0a00000800000000000000"),
        ("1a088a00ff00", "0f001000" + CONTROL),
        ("5a080a0000000000ff00", "0012001000000000" + CONTROL),
        ("5a100a0000000000ff00", "0022001001000010" + "00000000000001000000000000000200" + CONTROL),
        ("1a080a000500", "0f0010000a"),
        ("1a080a000000", ""),
    ],
)
def test_mode_sense(cdb, answer):
    assert Bench().initiator().run(cdb).data.hex() == answer


@pytest.mark.parametrize(
    ("cdb", "code"),
    [("1a080b00ff00", 0x2400), ("1a080a01ff00", 0x2400), ("1a08ca00ff00", 0x3900), ("1a080affff00", None)],
)
def test_mode_sense_fields(cdb, code):
    assert Bench().initiator().run(cdb).code == (code and (5, code))


def select(initiator, page: str, header: str = "00000000"):
    data = bytes.fromhex(header + page)
    return initiator.run(bytes([0x15, 0x10, 0, 0, len(data), 0]), data)


def test_swp_protects_and_a_reset_keeps_it():
    bench = Bench()
    a, b = bench.initiator(), bench.initiator("bb")
    assert select(a, "0a0a00100800000000000000").good
    assert b.run("000000000000").code == (6, 0x2A01)
    assert b.run("2a000000000000000100", bytes(512)).code == (7, 0x2702)
    assert a.run("1a080a00ff00").data[2] == 0x90
    bench.device.manage(5, a.nexus, 0, 0)
    assert bench.unit.write_protected
    a.run("000000000000")
    assert select(a, CONTROL).good
    assert a.run("2a000000000000000100", bytes(512)).good


def test_wce_off_makes_writes_durable():
    bench = Bench()
    a = bench.initiator()
    assert select(a, "0812000000000000000000000000000000000000", "00000008" + "0000000000000200").good
    bench.store.calls.clear()
    a.run("2a000000000000000100", bytes(512))
    assert bench.store.calls == ["write", "flush"]
    itl_nexus = bench.device.itl_nexus(a.nexus, 0)
    assert itl_nexus is not None
    assert (itl_nexus.gate.read_open, itl_nexus.gate.write_open) == (True, False)


@pytest.mark.parametrize("default", [True, False])
def test_a_reset_never_ends_a_write_cache(default):
    bench = Bench(write_cache=default)
    a = bench.initiator()
    assert bench.unit.write_cache is default
    assert select(a, CACHING).good
    bench.device.manage(5, a.nexus, 0, 0)
    assert bench.unit.write_cache
    a.run("000000000000")
    assert select(a, NOT_CACHED).good
    bench.device.manage(5, a.nexus, 0, 0)
    assert bench.unit.write_cache is default


@pytest.mark.parametrize(
    ("parameters", "code", "pointer"),
    [
        ("00000000" + "0a0a01100000000000000000", 0x2600, "880006"),
        ("00000000" + "0a0900100000000000000000", 0x2600, "8f0005"),
        ("00000000" + "0b0a00100000000000000000", 0x2600, "8d0004"),
        ("00000000" + "0a0a0010", 0x1A00, "000000"),
        ("0000", 0x1A00, "000000"),
        ("00000007" + "0a0a00100000000000000000", 0x2600, "8f0003"),
        ("00000008" + "0000000000000400" + CONTROL, 0x2600, "8f0009"),
        ("00000008" + "0000000100000200" + CONTROL, 0x2600, "8f0004"),
    ],
)
def test_mode_select_refuses(parameters, code, pointer):
    answer = select(Bench().initiator(), parameters, "")
    assert (answer.code, answer.sense[15:18].hex()) == ((5, code), pointer)


def test_mode_select_takes_all_pages_or_none():
    bench = Bench()
    a = bench.initiator()
    assert select(a, CACHING.replace("081204", "081200") + "0a0aff100000000000000000").code == (5, 0x2600)
    assert bench.unit.write_cache


def test_mode_select_cdb_and_short_data():
    a = Bench().initiator()
    assert a.run("151100001000", bytes(16)).code == (5, 0x2400)
    assert a.run("150000001000", bytes(16)).code == (5, 0x2400)
    assert a.run("151000001000", bytes(12)).code == (5, 0x1A00)
    assert a.run("151000000000").good
    data = bytes(8) + bytes.fromhex(CONTROL)
    assert a.run(bytes([0x55, 0x10, 0, 0, 0, 0, 0, 0, len(data), 0]), data).good


def test_write_cache_that_is_turned_off_is_written_out_before_the_status():
    bench = Bench()
    a = bench.initiator()
    off = CACHING.replace("081204", "081200")
    a.run("2a000000000000000100", bytes(512))
    bench.store.calls.clear()
    assert select(a, CACHING).good
    assert bench.store.calls == []
    assert select(a, off).good
    assert bench.store.calls == ["flush"]
    a.run("2a000000000000000100", bytes(512))
    assert bench.store.calls == ["flush", "write", "flush"]
    assert select(a, off).good
    assert bench.store.calls == ["flush", "write", "flush"]
    assert select(a, CACHING).good
    bench.store.error = OSError(errno.EIO, "lost")
    assert select(a, off).code == (3, 0x0C00)


def test_mode_select_waits_for_the_writes_before_it():
    """A write that was taken while WCE was 1 must not end behind the flush that makes WCE 0 true."""
    bench = Bench(MemoryStore(blocking=True))
    a = bench.initiator()
    write = a.send("2a000000000000000100", bytes(512))
    data = bytes(4) + bytes.fromhex(CACHING.replace("081204", "081200"))
    chosen = a.send(bytes([0x15, 0x10, 0, 0, len(data), 0]), data)
    assert bench.store.calls == ["write"]
    assert bench.unit.write_cache
    bench.executor.run()
    assert bench.store.calls == ["write", "flush"]
    bench.executor.run()
    assert [task for task in a.ended if task.cdb[0] in (0x2A, 0x15)] == [write, chosen]
    assert (write.status, chosen.status, bench.unit.write_cache) == (0, 0, False)


class Place:
    """Keeps a text in memory; ``error`` is raised instead."""

    executor = InlineExecutor()

    def __init__(self) -> None:
        self.text = ""
        self.error: OSError | None = None

    def keep(self, number: int, text: str) -> None:
        if self.error is not None:
            raise self.error
        self.text = text


def with_place(place: Place, **options: object) -> Bench:
    """A unit as a start of the server makes it: with what was kept, and the place."""
    bench = Bench(**options)
    pages = ModePages.of(bench.unit)
    if place.text:
        pages.take_kept(place.text)
    pages.place = place
    return bench


def save(initiator, page: str):
    data = bytes.fromhex("00000000" + page)
    return initiator.run(bytes([0x15, 0x11, 0, 0, len(data), 0]), data)


def test_saved_pages_come_back_at_the_start_and_after_a_reset():
    place = Place()
    bench = with_place(place)
    a = bench.initiator()
    assert a.run("1a08ca00ff00").data[4:].hex() == "8a0a00100000000000000000", "PS, and the default"
    assert save(a, "0a0a00100800000000000000").good
    assert select(a, NOT_CACHED).good, "not saved"
    bench = with_place(place)
    a = bench.initiator()
    assert bench.unit.software_write_protect
    assert bench.unit.write_cache
    assert a.run("2a000000000000000100", bytes(512)).code == (7, 0x2702)
    assert a.run("1a08ca00ff00").data[4:].hex() == "8a0a00100800000000000000"
    assert a.run("1a088a00ff00").data[4:].hex() == "8a0a00100000000000000000", "the default is another matter"
    assert save(a, "0812" + "00" * 18).good
    assert select(a, CACHING).good
    bench = with_place(place)
    assert not bench.unit.write_cache
    bench.device.manage(5, bench.initiator().nexus, 0, 0)
    assert not bench.unit.write_cache


def test_with_sp_all_pages_are_saved_without_a_list_too():
    place = Place()
    a = with_place(place).initiator()
    assert select(a, "0a0a00100800000000000000").good
    assert a.run("151100000000").good
    assert with_place(place).unit.software_write_protect


@pytest.mark.parametrize("blocking", [False, True])
@pytest.mark.parametrize("saves", [0, 1])
def test_a_cache_that_cannot_be_written_out_is_not_turned_off(blocking, saves):
    """What is only in it must not pass for durable; with SP nothing is saved either."""
    place = Place()
    bench = with_place(place, store=MemoryStore(blocking=blocking))
    a, b = bench.initiator(), bench.initiator("bb")
    data = bytes.fromhex("00000000" + NOT_CACHED)
    bench.store.error = OSError(errno.EIO, "lost")
    task = a.send(bytes([0x15, 0x10 | saves, 0, 0, len(data), 0]), data)
    bench.finish()
    assert (task.status, bench.store.calls, place.text) == (2, ["flush"], "")
    assert bench.unit.write_cache
    assert a.run("1a080800ff00").data[4:].hex() == "88" + CACHING[2:]
    assert b.run("000000000000").good, "nothing has changed"


def test_a_cache_that_is_turned_off_meanwhile_aborted_stays_on():
    bench = Bench(MemoryStore(blocking=True))
    a = bench.initiator()
    data = bytes.fromhex("00000000" + NOT_CACHED)
    task = a.send(bytes([0x15, 0x10, 0, 0, len(data), 0]), data)
    bench.device.detach(a.nexus)
    bench.finish()
    assert a.released == [task]
    assert bench.unit.write_cache


def test_where_nothing_can_be_kept_the_command_changes_nothing():
    place = Place()
    bench = with_place(place)
    a, b = bench.initiator(), bench.initiator("bb")
    place.error = OSError(errno.ENOSPC, "full")
    assert save(a, "0a0a00100800000000000000").code == (7, 0x2707)
    assert not bench.unit.software_write_protect
    for control in ("0a", "ca"):
        assert a.run(f"1a08{control}00ff00").data[4:].hex() == "8a0a00100000000000000000"
    assert b.run("2a000000000000000100", bytes(512)).good
    bench.device.manage(5, a.nexus, 0, 0)
    assert not bench.unit.software_write_protect
    place.error = None
    a.run("000000000000")
    assert save(a, "0a0a00100800000000000000").good
    assert bench.unit.software_write_protect


def test_a_reset_while_values_are_saved_leaves_what_is_saved():
    place = Place()
    bench = with_place(place)
    place.executor = bench.executor
    a = bench.initiator()
    data = bytes.fromhex("00000000" + "0a0a00100800000000000000")
    task = a.send(bytes([0x15, 0x11, 0, 0, len(data), 0]), data)
    bench.device.manage(5, a.nexus, 0, 0)
    assert not bench.unit.software_write_protect
    bench.finish()
    assert a.released == [task]
    a.run("000000000000")
    for control in ("0a", "ca"):
        assert a.run(f"1a08{control}00ff00").data[4:].hex() == "8a0a00100800000000000000"


@pytest.mark.parametrize(
    "text", ["{", "[]", "1", '{"pages": 1}', '{"pages": {"x": "00"}}', '{"pages": {"8": "0"}}', "{}"]
)
def test_what_is_no_mode_pages_is_refused(text):
    with pytest.raises(ValueError, match=r"[a-z]"):
        ModePages.of(Bench().unit).take_kept(text)


def test_what_a_unit_cannot_do_is_not_taken():
    """A disk whose backstore has no cache any more, pages of a later version, and bits that nobody may set."""
    bench = Bench()
    pages = ModePages.of(bench.unit)
    pages.take_kept('{"pages": {"8": "ff' + "ff" * 17 + '", "28.2": "00", "77": "00", "10": "ff10080000000000ffff"}}')
    assert pages.current[CACHING_PAGE] == bytes([4, *bytes(17)])
    assert pages.current[CONTROL_PAGE].hex() == "00100800000000000000"
