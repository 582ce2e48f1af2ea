"""In the lab's guest: keeps the kernel from rewriting its own code at each start of dtrace. Ends at SIGTERM.

dtrace tries every performance event when it starts. The first user of a software event (page faults, context switches)
has the kernel patch a jump into the place that counts it, and the last one has it taken out. Under software emulation
another processor that runs through the place meanwhile may trap on the patch when it is over already ("Oops: int3"),
which is the end of the guest. With one user that stays there is nothing to patch.
"""

from __future__ import annotations

import ctypes
import signal
import struct

PERF_EVENT_OPEN = 298  # x86-64
SOFTWARE = 1  # PERF_TYPE_SOFTWARE
EVENTS = range(2, 12)  # PERF_COUNT_SW_PAGE_FAULTS and those behind it; the clocks before it patch nothing
DISABLED = 1


def main() -> None:
    """Open each event for this process, counting nothing, and wait."""
    libc = ctypes.CDLL(None)
    for event in EVENTS:
        attributes = struct.pack("=IIQQQQQ", SOFTWARE, 64, event, 0, 0, 0, DISABLED).ljust(64, b"\0")
        if libc.syscall(PERF_EVENT_OPEN, attributes, 0, -1, -1, 0) < 0:
            print(f"software event {event} cannot be held", flush=True)
    print("held", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
