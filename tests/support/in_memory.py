"""Where files are kept in memory: /dev/shm, where there is one that can be written."""

from __future__ import annotations

import os
import tempfile
from typing import Final

HAS_MEMORY: Final = os.access("/dev/shm", os.W_OK)
MEMORY: Final = "/dev/shm" if HAS_MEMORY else tempfile.gettempdir()
"""A folder in memory, or else the usual one for temporary files."""
