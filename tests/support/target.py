"""Our target as a process of its own: ``python -m iscsitools serve`` with private directories."""

from __future__ import annotations

import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

_PORTAL = re.compile(r"(?:(\d+\.\d+\.\d+\.\d+)|\[([0-9a-fA-F:]+)\]):(\d+)")
READY = " listens on "
START_SECONDS = 60
STOP_SECONDS = 30
SAYS_SECONDS = 30


class RunningTarget:
    """A serving target. ``addresses``: its portals as (host, port). ``output``: what it printed so far."""

    def __init__(self, process: subprocess.Popen[str], runtime: Path, portals: int) -> None:
        self.process = process
        self.runtime = runtime
        self.addresses: list[tuple[str, int]] = []
        self._lines: list[str] = []
        self._new: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._wait_until_ready(portals)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def portal(self) -> str:
        """The first portal as ``address:port``, with brackets round IPv6."""
        host, port = self.addresses[0]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def output(self) -> str:
        return "".join(self._lines)

    def says(self, text: str) -> bool:
        """Whether it prints this in time: its lines are written by a thread of their own, behind what they tell of."""
        until = time.monotonic() + SAYS_SECONDS
        while text not in self.output:
            if time.monotonic() > until:
                return False
            time.sleep(0.005)
        return True

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.append(line)
            self._new.put(line)
        self._new.put(None)

    def _wait_until_ready(self, portals: int) -> None:
        try:
            while len(self.addresses) < portals:
                line = self._new.get(timeout=START_SECONDS)
                if line is None:
                    raise RuntimeError(f"the target ended with status {self.process.wait()}:\n{self.output}")
                if READY in line:
                    found = _PORTAL.finditer(line)
                    self.addresses = [(match[1] or match[2], int(match[3])) for match in found]
        except BaseException:
            self.kill()
            raise

    def stop(self) -> str:
        """End it with SIGTERM, by its process id, and return all that it printed. Fails when it does not end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the target did not end at SIGTERM:\n{self.output}") from None
        self._close()
        return self.output

    def kill(self) -> str:
        """End it with SIGKILL (a crash) and return all that it printed."""
        self.process.kill()
        self.process.wait()
        self._close()
        return self.output

    def _close(self) -> None:
        self._reader.join()
        if self.process.stdout is not None:
            self.process.stdout.close()
        shutil.rmtree(self.runtime, ignore_errors=True)

    def __enter__(self) -> RunningTarget:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.stdout is not None and not self.process.stdout.closed:
            self.stop()


def start_target(
    directory: Path,
    *arguments: str,
    portals: Sequence[str] = ("127.0.0.1:0",),
    prefix: Sequence[str] = (),
    python: str = sys.executable,
    env: dict[str, str] | None = None,
    awaited: int | None = None,
) -> RunningTarget:
    """Start ``serve`` with these arguments and return when it listens on all ``portals``, or on ``awaited`` portals.

    Data goes under ``directory``; the runtime directory is a short one of its own, since the path of a Unix socket
    has at most 107 bytes. ``prefix`` goes before the command (``taskset -c 0``).
    """
    runtime = Path(tempfile.mkdtemp(prefix="it-", dir="/tmp"))
    data = directory / "data"
    data.mkdir(parents=True, exist_ok=True)
    own = {
        "XDG_RUNTIME_DIR": str(runtime),
        "XDG_DATA_HOME": str(data),
        "XDG_CONFIG_HOME": str(data),
        "XDG_STATE_HOME": str(data),
        "PYTHONUNBUFFERED": "1",
    }
    command = [*prefix, python, "-m", "iscsitools", "serve"]
    for portal in portals:
        command += ["--portal", portal]
    process = subprocess.Popen(
        [*command, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | own | (env or {}),
    )
    return RunningTarget(process, runtime, len(portals) if awaited is None else awaited)
