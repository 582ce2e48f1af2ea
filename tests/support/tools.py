"""Outside programs that some tests need."""

from __future__ import annotations

import os
import pty
import shutil
from pathlib import Path

import pytest

REQUIRE = "ISCSITOOLS_REQUIRE_TOOLS"
"""Set to 1 (as CI does), a missing program fails the test that needs it instead of skipping it."""

PLACES = "/usr/sbin:/sbin"
"""Where administration programs are."""


def missing(reason: str) -> None:
    """End the running test: skip it with ``reason``, or fail it where every program has to be there."""
    if os.environ.get(REQUIRE) == "1":
        pytest.fail(f"{reason}, and {REQUIRE}=1 asks for it", pytrace=False)
    pytest.skip(reason)


def needs(program: str, package: str) -> str:
    """Return the path of ``program``, or end the running test with the name of the Debian package that has it.

    Administration programs are found in /usr/sbin and /sbin too, whatever PATH says.
    """
    path = os.environ.get("PATH", os.defpath)
    found = shutil.which(program, path=f"{path}:{PLACES}")
    if found is None:
        missing(f"{program} is not installed (Debian package {package})")
    assert found is not None
    return found


def needs_file(path: str, package: str) -> Path:
    """Return ``path`` (a header, a library), or end the running test with the name of the package that has it."""
    if not Path(path).exists():
        missing(f"{path} is not installed (Debian package {package})")
    return Path(path)


def needs_terminal() -> None:
    """End the running test where no pseudo-terminal can be made."""
    try:
        for fd in pty.openpty():
            os.close(fd)
    except OSError as error:
        missing(f"no pseudo-terminal: {error}")
