#!/usr/bin/env python3
"""Print which initiator has written how much to a running target of this machine: ``who_writes.py [NAME]``.

The server adds up until Enter is pressed; it needs no restart, and the script no root.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from iscsitools import trace


def main() -> int:
    """Watch until Enter, then print a line for each initiator, the busiest first."""
    words = argparse.ArgumentParser(description="Print which initiator has written how much to a running target.")
    words.add_argument("name", nargs="?", help="the server's; not needed when only one runs")
    name = words.parse_args().name
    written: Counter[str] = Counter()
    try:
        with trace.Sums(name) as sums:
            print("Enter ends the measurement", flush=True)
            sys.stdin.readline()
            for row in sums.snapshot().commands:
                written[row.conn.initiator] += row.out_bytes
    except trace.TraceError as error:
        print(f"who_writes: {error}", file=sys.stderr)
        return 1
    for initiator, size in written.most_common():
        print(f"{size >> 10} KiB {initiator}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
