"""Starts the process that takes over from this one: the version that is installed now, under the same service."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Mapping

log = logging.getLogger(__name__)


def start_successor(name: str, variables: Mapping[str, str]) -> None:
    """Run ``iscsitools serve --takeover`` as this process was run, for the server ``name``; for signal handlers.

    ``variables``: of the environment, beside what is there. What it prints goes where this process prints.
    """
    threading.Thread(target=_run, args=(command(name), variables), name="successor", daemon=True).start()


def command(name: str) -> list[str]:
    """The command line, with the interpreter and its options as they were."""
    original = list(sys.orig_argv)
    own = original[: original.index("serve")] if "serve" in original else [sys.executable, "-m", "iscsitools"]
    return [*own, "serve", "--takeover", "--name", name]


def _run(arguments: list[str], variables: Mapping[str, str]) -> None:
    log.info("starts a process that takes over: %s", " ".join(arguments))
    try:
        process = subprocess.Popen(arguments, env={**os.environ, **variables}, stdin=subprocess.DEVNULL)
    except OSError as error:
        log.error("it cannot be started: %s", error)
        return
    status = process.wait()  # it outlives this process, unless it fails
    log.error("the process that was to take over has ended with status %d", status)
