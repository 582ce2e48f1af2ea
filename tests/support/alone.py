"""``iscsitools`` as a program that finds the servers of its test, and none that happens to run on this machine besides.

A reader searches the system's run directory and the one for temporary files too, whatever $XDG_RUNTIME_DIR says.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from iscsitools.cli.main import main
from iscsitools.trace import names

COMMAND = (sys.executable, __file__)
"""What stands in the place of ``python -m iscsitools``."""


def hide_others(home: Path, patch: Any = setattr) -> None:
    """Have servers be looked for in $XDG_RUNTIME_DIR only; ``home`` takes the place of all other directories."""
    patch(names, "SYSTEM_DIRECTORY", home / "run")
    patch(names, "tempfile", SimpleNamespace(gettempdir=lambda: str(home)))


if __name__ == "__main__":
    hide_others(Path(os.environ.get("XDG_RUNTIME_DIR", "/nonexistent")))
    main()
