"""Whatever happens to tasks, each ends once, in the order that their attributes ask for, and nothing stays behind."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from iscsitools.wire.scsi import Attribute, ManagementFunction

from .support import Bench, MemoryStore

READ = "28000000000000000100"
COMPARE = "89000000000000000000000000010000"
WRITE = "2a000000000000000100"
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
            self.bench.device.execute(task)
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
        """No thread works for a task that has to wait."""
        calls = self.bench.unit.tasks.calls
        for index, call in enumerate(calls):
            alone = call.task.attribute == Attribute.ORDERED or call.command.name == "COMPARE AND WRITE"
            if call.started and not call.task.aborted and alone:
                assert index == 0
            waits_for = [c for c in calls[:index] if c.task.attribute != Attribute.SIMPLE or c.task.cdb[0] == 0x89]
            if call.started and call.task.attribute == Attribute.SIMPLE and not call.task.aborted:
                assert not waits_for


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
    assert run.bench.unit.tasks.calls == []
    assert run.bench.unit.tasks.barriers == 0
    for initiator in run.both:
        initiator.run("03000000ff00")
        itl = run.bench.device.itl(initiator.nexus, 0)
        assert itl is not None
        assert itl.gate.read_open
        assert itl.gate.write_open
