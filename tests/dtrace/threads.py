"""In the lab's guest: a target with data threads under a real dtrace. What its threads fire, the initiators know."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from dtrace import load, scene
from dtrace.guest import PATIENCE, Guest
from iscsitools.dtrace.variants import DSCRIPTS
from iscsitools.initiator import Opcode, Plan, Session, run_load

THREADS = 2
ROUNDS = 12
PLAN = Plan(reads=31, writes=23, depth=8)
COUNTED = """
/* Sums of numbers: by probe, member and initiator. */
dtrace:::BEGIN { printf("Tracing...\\n"); }
iscsi*:::scsi-command { @threads[tid] = count(); }
iscsi*:::scsi-command, iscsi*:::data-send, iscsi*:::scsi-response
{
    @sums[probename, "itt", args[1]->ii_initiator] = sum(args[1]->ii_itt);
    @sums[probename, "datalen", args[1]->ii_initiator] = sum(args[1]->ii_datalen);
}
iscsi*:::scsi-command
{
    @sums[probename, "cmdsn", args[1]->ii_initiator] = sum(args[1]->ii_cmdsn);
    @sums[probename, "cdb", args[1]->ii_initiator] = sum(args[2]->ic_cdb[0] + args[2]->ic_cdb[9]);
}
iscsi*:::data-send, iscsi*:::scsi-response
{
    @sums[probename, "statsn", args[1]->ii_initiator] = sum(args[1]->ii_statsn);
}
iscsi*:::xfer-start, iscsi*:::xfer-done { @sums[probename, "len", args[1]->ii_initiator] = sum(args[2]->xfer_len); }
dtrace:::END
{
    printa("thread %d %@d\\n", @threads);
    printa("%s %s %s %@d\\n", @sums);
}
"""


def sums_of(session: Session) -> Counter[str]:
    """What the probes have to add up to, by the initiator's log."""
    found: Counter[str] = Counter()
    for name, opcode in (
        ("scsi-command", Opcode.SCSI_COMMAND), ("data-send", Opcode.DATA_IN), ("scsi-response", Opcode.SCSI_RESPONSE)
    ):  # fmt: skip
        for pdu in session.log.pdus(opcode):
            found[f"{name} itt"] += pdu.itt
            found[f"{name} datalen"] += pdu.data_length
            if opcode == Opcode.SCSI_COMMAND:
                found[f"{name} cmdsn"] += pdu.cmd_sn
                found[f"{name} cdb"] += pdu.cdb[0] + pdu.cdb[9]
            else:
                found[f"{name} statsn"] += pdu.stat_sn
    for name in ("xfer-start", "xfer-done"):
        sizes = load.expected(session.log).transfers
        found[f"{name} len"] = sum(int(size.split()[1]) * number for size, number in sizes.items())
    return found


def work(address: tuple[str, int], initiator: str, found: dict[str, Any]) -> None:
    """One session; what is to be reported of it is put into ``found``."""
    with Session.connect(address, scene.TARGET, initiator=initiator, timeout=PATIENCE) as session:
        for _ in range(ROUNDS):
            run_load(session, PLAN)
        of_client = load.expected(session.log)
        found[address[0]] = {"io": of_client.io, "ended": of_client.ended}
        found[initiator] = {
            "commands": session.log.count(Opcode.SCSI_COMMAND),
            "sums": sums_of(session),
        }
        session.logout()


def data_threads(guest: Guest) -> None:
    """Two sessions at once, which two threads serve, under two scripts and under sums of arguments."""
    guest.step("data threads")
    target, ports = scene.serve(guest.out, "--threads", str(THREADS), name="threads")
    scripts = {f"threads-{name}": ["-s", str(DSCRIPTS / f"{name}.d")] for name in ("iscsiio", "iscsirwlat")}
    programs = scripts | {"threads-sums": ["-qn", COUNTED]}
    tracers = {name: scene.start(guest.out, name, ["dtrace", *words]) for name, words in programs.items()}
    try:
        for name, tracer in tracers.items():
            scene.ready(guest.out, name, tracer)
        scene.wake(ports)
        guest.note("threads", {"pid": target.pid} | loaded(ports))
        scene.stop(guest.out, tracers)
    finally:
        for process in (target, *tracers.values()):
            process.kill()
            process.wait()


def loaded(ports: dict[str, int]) -> dict[str, Any]:
    """Two sessions at once; what is to be reported of them."""
    found: dict[str, Any] = {}
    workers = [
        threading.Thread(target=work, args=((address, port), f"iqn.2026-11.example:{number}", found))
        for number, (address, port) in enumerate(ports.items())
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return found
