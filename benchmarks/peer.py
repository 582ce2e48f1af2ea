"""What a target under test is to a benchmark: what it is to serve, how it is started, and how it ends."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from cases import Setting
from loadgen import Endpoint, MissingError, pinned

IQN = "iqn.2026-11.example:bench"


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def find(program: str, package: str) -> str:
    """The path of a program, also of those in /usr/sbin; raises MissingError."""
    path = shutil.which(program, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")
    if path is None:
        raise MissingError(f"{program} is not installed (Debian package {package})")
    return path


@dataclass(frozen=True)
class Place:
    """What is to be served and how: the file, the setting, a private directory, and the CPU to run on."""

    disk: Path
    directory: Path
    cpu: int | None
    setting: Setting = Setting.CACHED


class Peer(ABC):
    """A target under test. ``start`` serves the disk, ``stop`` ends it by its process id."""

    name: str
    settings = frozenset(Setting)

    @abstractmethod
    def start(self, place: Place) -> list[Endpoint]:
        """Serve the disk; returns one endpoint for each way it can be had."""

    @abstractmethod
    def stop(self) -> None:
        """End the process."""


class Spawned(Peer):
    """A peer that is a plain foreground process."""

    process: subprocess.Popen[bytes]

    def spawn(self, command: list[str], directory: Path, cpu: int | None, **env: str) -> None:
        """Start the process, its output in a file."""
        with (directory / f"{self.name}.log").open("wb") as log:
            self.process = subprocess.Popen(
                pinned(cpu) + command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=os.environ | env
            )

    def wait_for_port(self, port: int) -> None:
        """Return when the port takes connections; raises RuntimeError when the process ends or takes too long."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"{self.name} did not start")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
