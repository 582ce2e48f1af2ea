"""How large the history of a busy year is: ``python busy_year.py FILE``, some minutes; docs/analytics.md has it.

The simulated load of six clients never rests: a year of hours, a week of minutes and an hour of seconds, as the file
has them at the end of such a year, without a bound on its size.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

if __package__ is None:  # run as a program
    sys.path.insert(0, str(Path(__file__).parent))

import simulated_load as simulated

from iscsitools_analytics.schema import LEVELS
from iscsitools_analytics.store import Store

END = 1_795_000_000 // 3600 * 3600


def main() -> int:
    path = Path(sys.argv[1])
    store = Store(path, 1 << 40)
    _, minute, hour = LEVELS
    begin = END - hour.age
    for until, step in ((END - minute.age, 3600), (END - 3600, 60), (END, 1)):
        simulated.fill(store, begin, until, until, step)
        begin = until
    store.close()
    size = sum(os.stat(part).st_size for part in path.parent.glob(path.name + "*"))
    print(f"{len(simulated.CLIENTS) * 2} series, {size / (1 << 20):.0f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
