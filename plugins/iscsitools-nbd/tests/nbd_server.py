"""NBD servers that tests start, kill and start again: nbdkit and qemu-nbd, behind a socket in a folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

import pytest


def needs(program: str, package: str) -> str:
    """The path of a program; without it the test is skipped, or fails where every program has to be there."""
    path = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if path is None:
        reason = f"{program} is not installed (Debian package {package})"
        if os.environ.get("ISCSITOOLS_REQUIRE_TOOLS") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return path


class NbdServer:
    """A server that is started by ``start``, at first when made; ``command`` gets the socket's path as ``{socket}``."""

    def __init__(self, folder: Path, *command: str, uri: str = "nbd+unix:///?socket={socket}") -> None:
        self.socket = folder / "nbd.sock"
        self.command = command
        self.uri = uri.format(socket=self.socket)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start, and wait until it accepts connections."""
        self.socket.unlink(missing_ok=True)
        command = [part.format(socket=self.socket) for part in self.command]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert self._process.poll() is None, f"{command[0]} has ended by itself"
            with socket.socket(socket.AF_UNIX) as client:
                if client.connect_ex(str(self.socket)) == 0:
                    return
            time.sleep(0.01)
        raise AssertionError(f"{command[0]} does not listen")

    def kill(self) -> None:
        """SIGKILL: what it has not written anywhere is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> NbdServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.kill()


def nbdkit(folder: Path, *arguments: str, options: tuple[str, ...] = (), uri: str = "") -> NbdServer:
    """An nbdkit; ``options`` stand before its plugin and parameters."""
    program = needs("nbdkit", "nbdkit")
    return NbdServer(
        folder,
        *(program, "--foreground", "--exit-with-parent", "--unix", "{socket}", *options, *arguments),
        **({"uri": uri} if uri else {}),
    )


def qemu_nbd(folder: Path, image: Path, kind: str, *options: str) -> NbdServer:
    """A qemu-nbd that serves an image of qemu's, again and again."""
    program = needs("qemu-nbd", "qemu-utils")
    return NbdServer(
        folder, program, "--persistent", "--shared=8", "--socket={socket}", f"--format={kind}", *options, str(image)
    )
