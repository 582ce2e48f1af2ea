"""Many commands with an ITT, LBA and length of their own: sums and exclusive ors at the probes equal the log's.

``ISCSITOOLS_BPFTRACE_COMMANDS``: how many commands. 20,000 took 12 s on two busy processors, 1,000,000 took 229 s.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from pathlib import Path

import pytest
from dtrace import scene
from dtrace.reports import maps, read
from support.tools import missing, needs

from iscsitools.initiator import Log, Opcode, Session, Task, checked
from iscsitools.provider.backend import attach_path, survey

pytestmark = pytest.mark.slow
COMMANDS = int(os.environ.get("ISCSITOOLS_BPFTRACE_COMMANDS", "20000"))
DEPTH = 32
LUN = 1
SPREAD = 61
"""Lengths are 1 to 61 blocks: with the LBAs, which are all different, each command is another one."""


def run(session: Session) -> None:
    """Reads and writes in turns; the initiator checks every response."""
    session.read_capacity(LUN)
    running: list[Task] = []
    lba = 0
    for number in range(COMMANDS):
        blocks = 1 + number % SPREAD
        write = number % 2
        cdb = struct.pack(">BBQIBB", 0x8A if write else 0x88, 0, lba, blocks, 0, 0)
        if write:
            running.append(session.start_command(cdb, LUN, write=bytes(512 * blocks), immediate=True))
        else:
            running.append(session.start_command(cdb, LUN, read=512 * blocks))
        lba += blocks
        if len(running) == DEPTH:
            checked(session.wait(running.pop(0)))
    for task in running:
        checked(session.wait(task))


def sums(log: Log) -> dict[tuple[str, ...], int]:
    """What sums.bt has to report, by the initiator's log."""
    found: Counter[tuple[str, str]] = Counter()

    def add(event: str, **fields: int) -> None:
        found[event, "count"] += 1
        for name, value in fields.items():
            found[event, f"{name} sum"] += value
            found[event, f"{name} xor"] ^= value

    for pdu in log.pdus():
        if pdu.opcode == Opcode.SCSI_COMMAND and pdu.cdb[0] != 0x9E:
            lba, blocks = struct.unpack_from("<QI", pdu.cdb, 2)
            add("scsi-command", itt=pdu.itt, blocks=blocks)
            found["scsi-command", "lba sum"] += lba >> 32
            found["scsi-command", "lba xor"] ^= lba
        elif pdu.opcode == Opcode.SCSI_RESPONSE:
            add("scsi-response", itt=pdu.itt)
        elif pdu.opcode == Opcode.DATA_IN:
            add("data-send", itt=pdu.itt, length=pdu.data_length)
    return dict(found)


def test_sums_and_exclusive_ors(tmp_path: Path) -> None:
    program = needs("bpftrace", "bpftrace")
    if os.geteuid():
        missing("bpftrace needs root")
    if reason := next(backend.reason for backend in survey() if backend.name == "sdt"):
        missing(reason)
    target, ports = scene.serve(tmp_path, "--lun", f"{LUN}=null:{COMMANDS * SPREAD // 1024 + 64}M")
    tracer = None
    try:
        script = str(Path(__file__).with_name("sums.bt"))
        tracer = scene.start(tmp_path, "sums", [program, "-p", str(target.pid), script, str(attach_path())])
        scene.ready(tmp_path, "sums", tracer)
        scene.wake(ports)
        with Session.connect(("127.0.0.1", ports["127.0.0.1"]), scene.TARGET) as session:
            run(session)
            session.logout()
        scene.stop(tmp_path, {"sums": tracer})
    finally:
        for process in (target, tracer):
            if process is not None:
                process.kill()
                process.wait()
    found = maps(read(tmp_path, "sums"))["sums"]
    assert found == sums(session.log)
    assert found["scsi-command", "count"] == COMMANDS
