"""``python3 -m iscsitools.initiator ADDRESS:PORT TARGET``: a load of exact numbers, and what was sent and received."""

from __future__ import annotations

import argparse
import json

from iscsitools.initiator.load import WAYS, Plan, run_load
from iscsitools.initiator.pdu import FIELDS
from iscsitools.initiator.session import Session


def main() -> None:
    """Parse the command line, run the load, print one JSON object."""
    parser = argparse.ArgumentParser(prog="iscsitools.initiator", description="Exact numbers of reads and writes.")
    parser.add_argument("portal", help="ADDRESS:PORT")
    parser.add_argument("target", help="the target's name")
    for name, default in (("reads", 101), ("writes", 53), ("read-blocks", 8), ("write-blocks", 8)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--lun", type=int, default=0)
    parser.add_argument("--way", choices=sorted(WAYS), default="immediate")
    parser.add_argument("--nops", type=int, default=0)
    parser.add_argument("--initiator", default="iqn.2026-11.example:initiator")
    parser.add_argument("--digests", default="None", help="offered for header and data, such as CRC32C,None")
    args = parser.parse_args()
    host, _, port = args.portal.rpartition(":")
    address = (host.strip("[]"), int(port))
    session = Session.connect(address, args.target, initiator=args.initiator, digests=args.digests)
    plan = Plan(args.reads, args.writes, args.read_blocks, args.write_blocks, args.depth, args.way, args.lun)
    totals = run_load(session, plan)
    for number in range(args.nops):
        session.nop(b"%d" % number)
    session.logout()
    report = {"done": vars(totals), "pdus": {}}
    for opcode, count in session.log.counts().items():
        sums = {field: session.log.total(opcode, field) for field in FIELDS[opcode]}
        xors = {field: session.log.xor(opcode, field) for field in FIELDS[opcode]}
        report["pdus"][opcode.name] = {"count": count, "sum": sums, "xor": xors}
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
