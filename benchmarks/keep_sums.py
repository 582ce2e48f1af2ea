"""Have a running target keep sums with every histogram, and read them once a second, for some viewers at once.

python benchmarks/keep_sums.py [VIEWERS [NAME]]
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack

from iscsitools import trace
from iscsitools.trace.sums.declared import NAMES


def main() -> int:
    viewers = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    name = sys.argv[2] if len(sys.argv) > 2 else None
    with ExitStack() as stack:
        readers = [stack.enter_context(trace.Sums(name, histograms=NAMES)) for _ in range(viewers)]
        print("Summing up... Hit Ctrl-C to end.", flush=True)
        try:
            while True:
                for reader in readers:
                    time.sleep(1 / viewers)
                    reader.snapshot(reset=True)
        except KeyboardInterrupt:
            return 0


if __name__ == "__main__":
    sys.exit(main())
