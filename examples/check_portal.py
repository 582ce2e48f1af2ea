#!/usr/bin/env python3
"""Say for a monitoring system whether a disk can be read: ``check_portal.py ADDRESS PORT TARGET [LUN]``.

It logs in, pings, reads the first block and logs out. One line; status 0 when all went well, 2 when it did not.
"""

from __future__ import annotations

import argparse
import sys
import time

from iscsitools.initiator import InitiatorError, Session

PATIENCE = 10.0
"""Seconds without a byte of the target's."""


def main() -> int:
    """Try it; the time is of the read alone."""
    words = argparse.ArgumentParser(description="Say for a monitoring system whether a disk can be read.")
    words.add_argument("address")
    words.add_argument("port", type=int)
    words.add_argument("target")
    words.add_argument("lun", type=int, nargs="?", default=0)
    asked = words.parse_args()
    portal, target, lun = (asked.address, asked.port), asked.target, asked.lun
    try:
        with Session.connect(portal, target, initiator="iqn.2026-11.example:monitor", timeout=PATIENCE) as session:
            session.nop(b"are you there")
            _, size = session.read_capacity(lun)
            began = time.monotonic()
            session.read(0, 1, lun, size)
            took = time.monotonic() - began
            session.logout()
    except (InitiatorError, OSError) as error:
        print(f"CRITICAL: {target} LUN {lun}: {error}")
        return 2
    print(f"OK: {target} LUN {lun}: a block read in {took * 1e6:.0f} us")
    return 0


if __name__ == "__main__":
    sys.exit(main())
