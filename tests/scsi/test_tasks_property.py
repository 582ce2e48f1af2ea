"""Whatever happens to tasks, each ends once, in the order that their attributes ask for, and nothing stays behind."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from iscsitools.wire.scsi import Attribute, ManagementFunction

from .support import READ, WRITE, Bench, MemoryStore

COMPARE = "89000000000000000000000000010000"
ZEROS = bytes(1024)

COMMANDS = st.sampled_from([(READ, b""), (WRITE, ZEROS[:512]), (COMPARE, ZEROS), ("000000000000", b"")])
ATTRIBUTES = st.sampled_from([Attribute.SIMPLE, Attribute.SIMPLE, Attribute.ORDERED, Attribute.HEAD_OF_QUEUE])
STEPS = st.one_of(
    st.tuples(st.just("accept"), COMMANDS, ATTRIBUTES, st.booleans()),
    st.tuples(st.just("bring"), st.integers(0, 20)),
    st.tuples(st.just("return"), st.integers(0, 20)),
    st.tuples(st.just("abort"), st.integers(0, 20)),
    st.tuples(st.just("clear"), st.booleans()),
    st.tuples(st.just("threads are free"), st.booleans()),
)


class Run:
    def __init__(self) -> None:
        self.bench = Bench(MemoryStore(blocking=True), queue_depth=12)
        self.both = [self.bench.initiator(), self.bench.initiator("bb")]
        for initiator in self.both:
            initiator.ended.clear()
        self.sent = []
        self.unbrought = []

    def step(self, kind, *args):
        if kind == "accept":
            (cdb, out), attribute, first = args
            initiator = self.both[first]
            task = initiator.task(cdb, out, attribute=attribute)
            self.sent.append(task)
            if self.bench.device.accept(task):
                self.unbrought.append((task, out))
        elif kind == "bring" and self.unbrought:
            task, out = self.unbrought.pop(args[0] % len(self.unbrought))
            task.data_out = memoryview(out)
            task.execute()
        elif kind == "return" and self.bench.executor.held:
            self.bench.executor.run(args[0] % len(self.bench.executor.held))
        elif kind == "abort" and self.sent:
            task = self.sent[args[0] % len(self.sent)]
            self.bench.device.manage(ManagementFunction.ABORT_TASK, task.nexus, 0, task.tag)
        elif kind == "threads are free":
            self.bench.executor.begins = args[0]
        elif kind == "clear":
            self.bench.device.manage(ManagementFunction.CLEAR_TASK_SET, self.both[args[0]].nexus, 0, 0)

    def check_order(self):
        """No thread works for a task that has to wait, and none beside another on blocks that one of them changes."""
        tasks = list(self.bench.unit.tasks)
        for index, task in enumerate(tasks):
            if not task.started or task.aborted:
                continue
            # What has its data, or is of the same nexus, and came before.
            before = [t for t in tasks[:index] if t.nexus is task.nexus and not t.aborted]
            if task.attribute == Attribute.ORDERED:
                assert not before
            if task.attribute == Attribute.SIMPLE:
                assert not [t for t in before if t.attribute != Attribute.SIMPLE]
        at_work = [t for t in tasks if t.at_work and t.blocks]
        for index, task in enumerate(at_work):
            assert not [t for t in at_work[:index] if task.command.writes or t.command.writes]


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, min_size=15, max_size=60))
def test_every_task_ends_once(steps):
    run = Run()
    for step in steps:
        run.step(*step)
        run.check_order()
    while run.unbrought or run.bench.executor.held:
        run.step("bring", 0)
        run.step("return", 0)
    ends = [task for initiator in run.both for task in initiator.ended + initiator.released]
    assert sorted(map(id, ends)) == sorted(map(id, run.sent))
    assert list(run.bench.unit.tasks) == []
    assert run.bench.unit.tasks.barriers == 0
    for initiator in run.both:
        initiator.run("03000000ff00")
        itl_nexus = run.bench.device.itl_nexus(initiator.nexus, 0)
        assert itl_nexus is not None
        assert itl_nexus.gate.read_open
        assert itl_nexus.gate.write_open
