"""For pytest: the lab, or the end of the test with what is missing."""

from __future__ import annotations

from pathlib import Path

from support.tools import missing, needs

from lab import project
from lab.home import Home, LabError


def needs_lab() -> Home:
    """The lab's home, with a machine of this checkout's recipe in it."""
    needs("qemu-system-x86_64", "qemu-system-x86")
    needs("nbdkit", "nbdkit")
    home = Home.of_environment()
    try:
        home.require()
    except LabError as error:
        missing(str(error))
    return home


def project_images(home: Home) -> dict[str, Path]:
    """The ``images`` of a :class:`lab.machine.Setup` with this checkout in it, at ``lab.project.BIN``."""
    return {project.MOUNT: project.installed(home)}
