"""bpftrace and a server with data threads: the probes fire in the thread that serves, and none is lost."""

from __future__ import annotations

import os
import threading
from collections import Counter
from pathlib import Path

import pytest
from dtrace import scene
from dtrace.reports import maps, read
from support.native import needs_data_threads
from support.tools import missing, needs

from iscsitools.initiator import Opcode, Plan, Session, run_load
from iscsitools.provider.backend import attach_path, survey

pytestmark = pytest.mark.slow
THREADS = 2
PROGRAM = """
BEGIN { printf("Tracing...\\n"); }
usdt:PATH:iscsi:scsi_command { @commands[tid] = count(); }
usdt:PATH:iscsi:data_send { @reads[str(arg2)] = count(); }
usdt:PATH:iscsi:scsi_response { @writes[str(arg2)] = count(); }
"""


def test_each_thread_fires_what_it_serves(tmp_path: Path) -> None:
    """Two sessions at once; each has its commands, whoever served them, and data threads served of both."""
    program = needs("bpftrace", "bpftrace")
    needs_data_threads()
    if os.geteuid():
        missing("bpftrace needs root")
    if reason := next(backend.reason for backend in survey() if backend.name == "sdt"):
        missing(reason)
    target, ports = scene.serve(tmp_path, "--threads", str(THREADS))
    tracer = None
    try:
        words = [program, "-p", str(target.pid), "-e", PROGRAM.replace("PATH", str(attach_path()))]
        tracer = scene.start(tmp_path, "threads", words)
        scene.ready(tmp_path, "threads", tracer)
        scene.wake(ports)
        counts = load(ports)
        scene.stop(tmp_path, {"threads": tracer})
    finally:
        for process in (target, tracer):
            if process is not None:
                process.kill()
                process.wait()
    found = maps(read(tmp_path, "threads"))
    by_thread = {int(tid): count for (tid,), count in found["commands"].items()}
    assert sum(by_thread.values()) == sum(each[Opcode.SCSI_COMMAND] for each in counts.values())
    assert len(by_thread.keys() - {target.pid}) == THREADS, by_thread
    for name, event in (("reads", Opcode.DATA_IN), ("writes", Opcode.SCSI_RESPONSE)):
        assert sum(found[name].values()) == sum(each[event] for each in counts.values())
        assert len(found[name]) == len(counts)


def load(ports: dict[str, int]) -> dict[str, Counter[Opcode]]:
    """How many PDUs of each kind the initiators sent and received."""
    counts: dict[str, Counter[Opcode]] = {}

    def run(address: str) -> None:
        initiator = f"iqn.2026-11.example:{len(address)}"
        with Session.connect((address, ports[address]), scene.TARGET, initiator=initiator) as session:
            for _ in range(20):
                run_load(session, Plan(reads=101, writes=103, depth=8))
            counts[address] = session.log.counts()
            session.logout()

    workers = [threading.Thread(target=run, args=(address,)) for address in ports]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return counts
