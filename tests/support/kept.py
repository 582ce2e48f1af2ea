"""What a fuzzer found stays in a file, with the seed that finds it again: what is printed may be cut, or gone."""

from __future__ import annotations

import traceback
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "build" / "twins"


def keep(name: str, seed: int, again: str, error: Exception) -> str:
    """Write the whole of it to a file of that name and seed; return what to print of it. ``again``: the command."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    file = FOLDER / f"{name}-{seed}.txt"
    file.write_text(f"{again}\n\n{''.join(traceback.format_exception(error))}")
    return f"{error}\nseed {seed}; kept in {file}; once more: {again}"
