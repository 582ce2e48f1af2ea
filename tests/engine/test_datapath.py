"""The data path by itself: what it consumes, and why it stops. Nothing stands around it but a gate and a chunk."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from iscsitools.backstores.ram import RamBackstore
from iscsitools.initiator.pdu import Opcode, make_bhs
from iscsitools.iscsi.connection.datapath import DataPath
from iscsitools.iscsi.connection.digest import crc32c_wire
from iscsitools.iscsi.connection.memory import CHUNK_SIZE, Chunk
from iscsitools.iscsi.connection.stops import Stop
from iscsitools.probes.firing import Probes
from iscsitools.probes.subscribers import Calls, ConnectionInfo
from iscsitools.scsi.core.gate import TASKS, TRANSFERS, make_gate, unit_words

from . import harness
from .harness import read10, write10

ENOUGH = CHUNK_SIZE


class Failing(RamBackstore):
    """A disk on which nothing works."""

    def try_read_into(self, offset: int, buffer: memoryview) -> bool:
        raise OSError(5, "Input/output error")

    def try_write(self, offset: int, buffer: memoryview) -> bool:
        return False


class Bench:
    """A data path in front of a disk of 1 MiB, and the bytes that it is given."""

    def __init__(self, store: type[RamBackstore] = RamBackstore, max_send: int = 262144) -> None:
        self.store = store("1M")
        self.store.open()
        self.words = unit_words(64)
        self.gate = make_gate(0, self.store, 512, 2048, self.words)
        self.gate.read_open = self.gate.write_open = True
        self.path = harness.data_path(bytearray(256 << 10), ConnectionInfo(1), Probes(lambda: 0))
        self.path.window = 128
        self.path.exp_cmdsn = self.cmdsn = 1
        self.path.statsn = 100
        self.path.agree(max_send, 262144, 65536)
        self.path.open_gate(0, self.gate)
        self.path.chunk = Chunk(CHUNK_SIZE)
        self.end = 0

    def put(self, bhs: bytes, data: bytes = b"") -> None:
        self.path.receive[self.end : self.end + len(bhs + data)] = bhs + data
        self.end += len(bhs + data)

    def read(self, lba: int, blocks: int, **fields: int) -> bytes:
        values = {"flags": 0xC1, "itt": self.cmdsn, "cmd_sn": self.cmdsn, "edtl": blocks * 512} | fields
        self.cmdsn += 1
        return make_bhs(Opcode.SCSI_COMMAND, cdb=read10(lba, blocks), **values)

    def write(self, lba: int, data: bytes, **fields: int) -> bytes:
        values = {"flags": 0xA1, "itt": self.cmdsn, "cmd_sn": self.cmdsn, "edtl": len(data)} | fields
        self.cmdsn += 1
        return make_bhs(Opcode.SCSI_COMMAND, cdb=write10(lba, len(data) // 512), data_length=len(data), **values)

    def consume(self, pos: int = 0, budget: int = ENOUGH) -> tuple[int, Stop]:
        return self.path.consume(pos, self.end, budget)

    def answers(self) -> list[tuple[int, int, int, int]]:
        """Opcode, ITT, StatSN and ExpCmdSN of each."""
        chunk, at, found = self.path.chunk, 0, []
        assert chunk is not None
        while at < self.path.tail:
            bhs = chunk.data[at : at + 48]
            words = [int.from_bytes(bhs[n : n + 4], "big") for n in (16, 24, 28)]
            found.append((bhs[0], words[0], words[1], words[2]))
            at += 48 + int.from_bytes(bhs[5:8], "big")
        return found


def test_it_answers_what_it_can_and_says_that_no_more_is_there() -> None:
    bench = Bench()
    bench.put(bench.write(3, b"w" * 1024), b"w" * 1024)
    bench.put(bench.read(3, 2))
    assert bench.consume() == (bench.end, Stop.INCOMPLETE)
    assert bench.answers() == [(0x21, 1, 100, 2), (0x25, 2, 101, 3)]
    path = bench.path
    assert path.chunk is not None
    assert path.chunk.data[96 : 96 + 1024] == b"w" * 1024
    assert (path.exp_cmdsn, path.statsn, path.max_cmdsn, path.commands) == (3, 102, 130, 2)
    assert (path.read_bytes, path.written_bytes) == (1024, 1024)


@pytest.mark.parametrize("cut", [1, 47, 48, 559])
def test_a_pdu_that_is_not_all_there_is_left(cut: int) -> None:
    bench = Bench()
    bench.put(bench.read(0, 1))
    first = bench.end
    bench.put(bench.write(0, bytes(512)), bytes(512))
    bench.end = first + cut
    assert bench.consume() == (first, Stop.INCOMPLETE)
    bench.end = first + 560
    assert bench.consume(first) == (first + 560, Stop.INCOMPLETE)


@pytest.mark.parametrize(("word", "served"), [(None, True), (TASKS, False), (TRANSFERS, False)])
@pytest.mark.parametrize("writes", [False, True])
def test_ordered_waits_for_others(word: int | None, served: bool, writes: bool) -> None:
    bench = Bench()
    if word is not None:
        bench.words[word] = 1
    if writes:
        bench.put(bench.write(0, bytes(512), flags=0xA2), bytes(512))
    else:
        bench.put(bench.read(0, 1, flags=0xC2))
    assert bench.consume() == ((bench.end, Stop.INCOMPLETE) if served else (0, Stop.OTHER))


@pytest.mark.parametrize(
    "fields",
    [
        {"flags": 0xC4},  # ACA
        {"flags": 0x41},  # not final
        {"cmd_sn": 2},
        {"itt": 0xFFFFFFFF},
        {"itt": 77},  # a task that is off this path has it
        {"edtl": 1024},
        {"lun": 1 << 48},
        {"immediate": 1},
    ],
)
def test_what_is_of_another_form_or_out_of_order_is_left(fields: dict[str, int]) -> None:
    bench = Bench()
    bench.path.tags.add(77)
    bench.put(bench.read(0, 1, **fields))
    assert bench.consume() == (0, Stop.OTHER)
    assert (bench.path.exp_cmdsn, bench.path.tail) == (1, 0)


def test_a_gate_opens_and_closes_while_commands_come() -> None:
    bench = Bench()
    for closed in (False, True, False):
        bench.gate.read_open = not closed
        begin = bench.end
        bench.cmdsn = bench.path.exp_cmdsn
        bench.put(bench.read(0, 1))
        assert bench.consume(begin) == ((begin, Stop.OTHER) if closed else (bench.end, Stop.INCOMPLETE))
        bench.end = begin if closed else bench.end
    bench.gate.close()
    assert not bench.gate.write_open


def test_a_gate_says_how_many_blocks_there_are_now() -> None:
    bench = Bench()
    bench.put(bench.read(2047, 1))
    assert bench.consume()[1] == Stop.INCOMPLETE
    bench.gate.blocks = 2047
    begin = bench.end
    bench.put(bench.read(2047, 1))
    assert bench.consume(begin) == (begin, Stop.OTHER)


def test_nothing_is_answered_out_of_order() -> None:
    bench = Bench()
    bench.path.in_order = False
    bench.put(bench.read(0, 1))
    assert bench.consume() == (0, Stop.OTHER)


def test_the_output_that_a_call_may_add_is_bounded() -> None:
    bench = Bench()
    for _ in range(100):
        bench.put(bench.read(0, 128))
    pos, stop = bench.consume(0, 1)
    assert (pos, stop) == (48, Stop.BUDGET)  # the first one, however long
    first = bench.path.tail
    pos, stop = bench.consume(pos, 3 * (48 + 65536))
    assert (pos, bench.path.tail, stop) == (4 * 48, first + 3 * (48 + 65536), Stop.BUDGET)
    pos, stop = bench.consume(pos, ENOUGH)
    assert stop == Stop.OUTPUT_FULL
    assert CHUNK_SIZE - 66000 < bench.path.tail <= CHUNK_SIZE
    bench.path.chunk, bench.path.tail = Chunk(CHUNK_SIZE), 0
    assert bench.consume(pos, ENOUGH)[0] > pos


@pytest.mark.parametrize("what", ["read", "write"])
def test_what_a_store_refuses_or_raises_is_left_to_a_task(what: str) -> None:
    bench = Bench(Failing)
    bench.put(*((bench.read(0, 1),) if what == "read" else (bench.write(0, bytes(512)), bytes(512))))
    assert bench.consume() == (0, Stop.OTHER)
    assert (bench.path.exp_cmdsn, bench.path.statsn, bench.path.tail) == (1, 100, 0)


def test_a_wrong_header_digest_closes() -> None:
    bench = Bench()
    bench.path.header_digest = True
    good = bench.read(0, 1)
    bench.put(good, crc32c_wire(good))
    bench.put(bench.read(0, 1), b"\0\0\0\0")
    assert bench.consume() == (52, Stop.CLOSED)
    assert bench.path.commands == 1


def test_a_wrong_data_digest_is_left() -> None:
    bench = Bench()
    bench.path.data_digest = True
    bench.put(bench.write(0, bytes(512)), bytes(512) + b"\0\0\0\0")
    assert bench.consume() == (0, Stop.OTHER)


def test_a_write_in_place_is_answered_as_one_in_the_buffer() -> None:
    bench = Bench()
    data = bytearray(b"p" * 65536)
    assert bench.path.write_in_place(bench.write(0, data), memoryview(data), 0)
    assert bench.answers() == [(0x21, 1, 100, 2)]
    assert not bench.path.write_in_place(bench.write(0, data, cmd_sn=9), memoryview(data), 0)
    found = bytearray(65536)
    bench.store.read_into(0, memoryview(found))
    assert found == data


def test_another_connection_goes_on_with_the_numbers() -> None:
    bench, other = Bench(), Bench()
    bench.put(bench.read(0, 1))
    bench.consume()
    other.path.continue_numbers(bench.path)
    assert (other.path.exp_cmdsn, other.path.commands) == (2, 1)


class Logging:
    """A subscriber that has a log in place of events, which the path in Python alone keeps."""

    def __init__(self) -> None:
        self.log: tuple[list[int], bytearray] = [], bytearray()
        self.stretches: list[tuple[int, int]] = []

    def direct(self, clock: Callable[[], int], fail: Callable[[Exception], None]) -> Calls:
        def nothing(*_: object) -> None:
            """What fires by itself."""

        def logged(began: int, statsn: int, itt: int) -> None:
            self.stretches.append((statsn, itt))

        return Calls(nothing, nothing, log=lambda conn: self.log, logged=logged)


@pytest.mark.parametrize("header_digest", [False, True])
@pytest.mark.parametrize("data_digest", [False, True])
def test_a_log_has_the_headers_of_what_was_answered(
    header_digest: bool, data_digest: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of reads that lie beside each other, of writes with their data between, and of none that was left."""
    monkeypatch.setattr(harness, "data_path", DataPath)
    bench, logging = Bench(), Logging()
    bench.path.probes.subscribe(0xFFFFF, logging)
    bench.path.header_digest, bench.path.data_digest = header_digest, data_digest
    kinds, headers = "rrwrwwrrwx", []
    for number, kind in enumerate(kinds):
        data = bytes([number]) * 512 if kind == "w" else b""
        bhs = bench.write(number, data) if kind == "w" else bench.read(number, 1 if kind == "r" else 4000)
        headers.append(bhs)
        bench.put(bhs + crc32c_wire(bhs) * header_digest, data + crc32c_wire(data) * (data_digest and kind == "w"))
    assert bench.path.consume(0, bench.end, ENOUGH)[1] is Stop.OTHER
    times, requests = logging.log
    assert len(times) == len(kinds) - 1
    assert requests == b"".join(headers[:-1])
    assert logging.stretches == [(100, kinds.rindex("r") + 1)]
