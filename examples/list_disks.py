#!/usr/bin/env python3
"""List the targets of a portal with the size of each disk: ``list_disks.py ADDRESS PORT``."""

from __future__ import annotations

import argparse
import sys

from iscsitools.initiator import InitiatorError, Session, checked, discover

REPORT_LUNS = bytes([0xA0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0])
ALL = 4096


def luns(session: Session) -> list[int]:
    """The unit numbers of a target (SPC-4 6.33), addressed as peripheral devices or flat (SAM-5 4.7.7)."""
    data = checked(session.command(REPORT_LUNS[:6] + ALL.to_bytes(4, "big") + bytes(2), read=ALL)).data
    end = 8 + int.from_bytes(data[:4], "big")
    return [int.from_bytes(data[at : at + 2], "big") & 0x3FFF for at in range(8, min(end, len(data)), 8)]


def main() -> int:
    """Print a line for each disk; 1 when the portal cannot be asked."""
    words = argparse.ArgumentParser(description="List the targets of a portal with the size of each disk.")
    words.add_argument("address")
    words.add_argument("port", type=int)
    asked = words.parse_args()
    portal = (asked.address, asked.port)
    try:
        for target in discover(portal):
            with Session.connect(portal, target.name) as session:
                for lun in luns(session):
                    blocks, size = session.read_capacity(lun)
                    print(f"{target.name} {lun} {blocks * size >> 20} MiB, {size}-byte blocks")
                session.logout()
    except (InitiatorError, OSError) as error:
        print(f"list_disks: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
