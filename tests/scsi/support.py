"""A disk in memory, and a small initiator that speaks tasks to a ScsiDevice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from iscsitools.backstores.base import Allocation, Backstore, Capabilities, Extent, Request, Space
from iscsitools.scsi.commands import DISK
from iscsitools.scsi.core.device import ScsiDevice
from iscsitools.scsi.core.executor import InlineExecutor
from iscsitools.scsi.core.nexus import Nexus
from iscsitools.scsi.core.options import UnitOptions
from iscsitools.scsi.core.task import Task
from iscsitools.scsi.core.unit import LogicalUnit

PAGE = 4096
TARGET = "iqn.2026-11.example:disk"
TUR, READ, WRITE = "000000000000", "28000000000000000100", "2a000000000000000100"
"""TEST UNIT READY; READ(10) and WRITE(10) of the first block."""
FIELD, LIST_FIELD, LIST_LENGTH = (5, 0x2400), (5, 0x2600), (5, 0x1A00)
"""ILLEGAL REQUEST for what is in the CDB, in the parameter list, and for that list's length."""


class MemoryStore(Backstore):
    """Bytes in memory that remember the calls made; thin, with a cache that counts as volatile."""

    kind = "memory"

    def __init__(self, blocks: int = 256, block_size: int = 512, blocking: bool = False) -> None:
        self.data = bytearray(blocks * block_size)
        self.mapped = [False] * (len(self.data) // PAGE)
        self.blocking = blocking
        self.caps = Capabilities(volatile_cache=True, thin=True)
        self.calls: list[str] = []
        self.error: Exception | None = None
        self.told: Space | None = None

    def space(self) -> Space | None:
        return self.told

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.error is not None:
            raise self.error

    @property
    def size(self) -> int:
        return len(self.data)

    @property
    def capabilities(self) -> Capabilities:
        return self.caps

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self._call("read")
        buffer[:] = self.data[offset : offset + len(buffer)]

    def write(self, offset: int, buffer: memoryview) -> None:
        self._call("write")
        self.data[offset : offset + len(buffer)] = buffer
        for page in range(offset // PAGE, -(-(offset + len(buffer)) // PAGE)):
            self.mapped[page] = True

    def flush(self) -> None:
        self._call("flush")

    def write_zeroes(self, offset: int, length: int) -> None:
        self._call("write_zeroes")
        self.data[offset : offset + length] = bytes(length)

    def discard(self, offset: int, length: int) -> None:
        self._call("discard")
        self.data[offset : offset + length] = bytes(length)
        for page in range(-(-offset // PAGE), (offset + length) // PAGE):
            self.mapped[page] = False

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        end = offset + length
        while offset < end:
            page = offset // PAGE
            n = min((page + 1) * PAGE, end) - offset
            yield Extent(offset, n, Allocation.MAPPED if self.mapped[page] else Allocation.HOLE)
            offset += n

    def resize(self, size: int) -> None:
        self.data = self.data[:size].ljust(size, b"\0")
        self.mapped = (self.mapped + [False] * (size // PAGE))[: size // PAGE]


class HeldExecutor:
    """Reports calls when the test says so. They are begun at once, or with ``begins`` False when they are reported.

    ``steps``: what is to be resumed, when the test says so; ``resumed`` counts it.
    """

    def __init__(self) -> None:
        self.begins = True
        self.held: list[tuple[Callable[[], None], Callable[[BaseException | None], None]]] = []
        self.steps: list[Callable[[], None]] = []
        self.resumed = 0

    def submit(self, work: Callable[[], None], done: Callable[[BaseException | None], None]) -> Callable[[], bool]:
        if not self.begins:
            call = (work, done)
            self.held.append(call)
            return lambda: self._withdraw(call)
        error: BaseException | None = None
        try:
            work()
        except Exception as raised:
            error = raised
        self.held.append((lambda: None, lambda _: done(error)))
        return lambda: False

    def _withdraw(self, call: tuple[Callable[[], None], Callable[[BaseException | None], None]]) -> bool:
        if call not in self.held:
            return False
        self.held.remove(call)
        return True

    def ask(
        self, store: Backstore, request: Request, done: Callable[[BaseException | None], None]
    ) -> Callable[[], bool]:
        return InlineExecutor().ask(store, request, done)

    def resume(self, step: Callable[[], None]) -> None:
        self.steps.append(step)

    def step(self) -> None:
        """One turn of the loop for what is to be resumed."""
        self.resumed += 1
        self.steps.pop(0)()

    def run(self, index: int = 0) -> None:
        work, done = self.held.pop(index)
        InlineExecutor().submit(work, done)


class SentTask(Task):
    """A task that tells its initiator what becomes of it."""

    initiator: Initiator

    def done(self) -> None:
        self.initiator.ended.append(self)

    def released(self) -> None:
        self.initiator.released.append(self)

    def dropped(self) -> None:
        self.initiator.dropped.append(self)


@dataclass
class Initiator:
    """Sends CDBs over one nexus. ``ended`` are the tasks whose ``done`` was called."""

    device: ScsiDevice
    nexus: Nexus
    ended: list[Task] = field(default_factory=list)
    released: list[Task] = field(default_factory=list)
    dropped: list[Task] = field(default_factory=list)
    tag: int = 0

    def task(
        self, cdb: str | bytes, out: bytes = b"", edtl: int | None = None, lun: int = 0, attribute: int = 1
    ) -> Task:
        raw = bytes.fromhex(cdb) if isinstance(cdb, str) else cdb
        self.tag += 1
        expected = (len(out) or 1 << 20) if edtl is None else edtl
        made = SentTask(
            self.nexus, lun, self.tag, raw.ljust(16, b"\0"), attribute=attribute, edtl=expected,
            reads=not out, writes=bool(out),
        )  # fmt: skip
        made.initiator = self
        return made

    def begin(self, task: Task, out: bytes = b"") -> Task:
        if self.device.accept(task):
            task.data_out = memoryview(bytearray(out[: min(task.edtl, task.data_out_length)]))
            task.execute()
        return task

    def send(
        self, cdb: str | bytes, out: bytes = b"", edtl: int | None = None, lun: int = 0, attribute: int = 1
    ) -> Task:
        return self.begin(self.task(cdb, out, edtl, lun, attribute), out)

    def run(self, cdb: str | bytes, out: bytes = b"", edtl: int | None = None, lun: int = 0) -> Answer:
        task = self.send(cdb, out, edtl, lun)
        for unit in self.device.units.values():
            while isinstance(unit.executor, HeldExecutor) and unit.executor.steps:
                unit.executor.step()
        assert task in self.ended, "the task did not end"
        sense = task.sense
        code = (sense[2], sense[12] << 8 | sense[13]) if sense else None
        return Answer(task.status, code, bytes(task.data_in), sense)


@dataclass
class Answer:
    status: int
    code: tuple[int, int] | None
    """Sense key, ASC << 8 | ASCQ."""
    data: bytes
    sense: bytes

    @property
    def good(self) -> bool:
        return self.status == 0


class Bench:
    """A device with one unit, LUN 0, and as many initiators as asked for."""

    def __init__(self, store: MemoryStore | None = None, **options: object) -> None:
        self.store = store or MemoryStore()
        self.executor = HeldExecutor()
        self.device = ScsiDevice(TARGET, DISK)
        self.unit = LogicalUnit(0, self.store, self.executor, UnitOptions(target=TARGET, **options), DISK)  # type: ignore[arg-type]
        self.device.add_unit(self.unit)

    def finish(self) -> None:
        """Let all work come to its end."""
        while self.executor.held or self.executor.steps:
            if self.executor.held:
                self.executor.run()
            else:
                self.executor.step()

    def initiator(self, name: str = "a", quiet: bool = True) -> Initiator:
        """A new nexus; ``quiet``: its first unit attention is taken already."""
        nexus = Nexus(f"iqn.2026-11.example:{name}", f"iqn.2026-11.example:{name},i,0x00000000000{len(name)}")
        self.device.attach(nexus)
        made = Initiator(self.device, nexus)
        if quiet:
            made.run("03000000ff00")
        return made
