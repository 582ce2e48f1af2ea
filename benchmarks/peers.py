"""The targets that are compared: ours, tgtd, istgt, and the lower bound; each on a port of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path

from loadgen import Endpoint, MissingError, build, pinned
from support.target import RunningTarget, start_target

IQN = "iqn.2026-11.example:bench"
BURST = 262144


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


class Peer(ABC):
    """A target under test. ``start`` serves the disk, ``stop`` ends it by its process id."""

    name: str

    @abstractmethod
    def start(self, disk: Path, directory: Path, cpu: int | None) -> list[Endpoint]:
        """Serve ``disk`` with private files in ``directory``; returns one endpoint for each way it can be had."""

    @abstractmethod
    def stop(self) -> None:
        """End the process."""


class Ours(Peer):
    """This project's target with its default settings, or with more options of ``serve``."""

    name = "iscsitools"

    def __init__(self, *more: str) -> None:
        self.more = more

    def start(self, disk: Path, directory: Path, cpu: int | None) -> list[Endpoint]:
        self.target: RunningTarget = start_target(
            directory, "--iqn", IQN, "--lun", f"0=file:{disk}", *self.more, prefix=pinned(cpu), python=sys.executable
        )
        host, port = self.target.addresses[0]
        return [Endpoint(host, port, IQN, 0, self.target.pid)]

    def stop(self) -> None:
        self.target.stop()


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


class Tgtd(Spawned):
    """tgt's daemon, with one target over bstype rdwr and one over aio, both from the page cache."""

    name = "tgtd"
    control = 77
    kinds: tuple[str, ...] = ("rdwr", "aio")
    direct = False

    def start(self, disk: Path, directory: Path, cpu: int | None) -> list[Endpoint]:
        port = free_port()
        self.env = {"TGT_IPC_SOCKET": str(directory / "tgtd")}
        daemon_env = self.env if self.direct else self.env | {"LD_PRELOAD": str(build("nodirect"))}
        self.tgtadm = find("tgtadm", "tgt")
        command = [find("tgtd", "tgt"), "-f", "-C", str(self.control), "--iscsi", f"portal=127.0.0.1:{port}"]
        self.spawn(command, directory, cpu, **daemon_env)
        self.wait_for_port(port)
        for tid, kind in enumerate(self.kinds, 1):
            self.add_target(tid, f"{IQN}-{kind}", disk, kind)
        return [Endpoint("127.0.0.1", port, f"{IQN}-{kind}", 1, self.process.pid) for kind in self.kinds]

    def add_target(self, tid: int, name: str, disk: Path, kind: str) -> None:
        """One target with one LUN, tuned as the others are."""
        self.admin("--mode", "target", "--op", "new", "--tid", str(tid), "--targetname", name)
        self.admin(
            "--mode", "logicalunit", "--op", "new", "--tid", str(tid), "--lun", "1",
            "--backing-store", str(disk), "--bstype", kind,
        )  # fmt: skip
        tuned = {
            "MaxRecvDataSegmentLength": str(BURST),
            "MaxXmitDataSegmentLength": str(BURST),
            "MaxBurstLength": str(BURST),
            "FirstBurstLength": str(BURST),
            "InitialR2T": "No",
            "ImmediateData": "Yes",
        }
        for key, value in tuned.items():
            self.admin("--mode", "target", "--op", "update", "--tid", str(tid), "--name", key, "--value", value)
        self.admin("--mode", "target", "--op", "bind", "--tid", str(tid), "--initiator-address", "ALL")

    def admin(self, *arguments: str) -> None:
        """One tgtadm call to this daemon."""
        command = [self.tgtadm, "-C", str(self.control), "--lld", "iscsi", *arguments]
        done = subprocess.run(command, env=os.environ | self.env, capture_output=True, text=True, check=False)
        if done.returncode:
            self.stop()
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")

    def stop(self) -> None:
        self.process.kill()  # it does not end at SIGTERM while it has targets
        self.process.wait()


class TgtdDirect(Tgtd):
    """tgt's daemon with aio as it comes, which opens the file with O_DIRECT and so measures the disk."""

    name = "tgtd-direct"
    control = 78
    kinds = ("aio",)
    direct = True


ISTGT_CONFIGURATION = """
[Global]
  NodeBase "iqn.2026-11.example"
  PidFile {directory}/istgt.pid
  AuthFile {directory}/istgt-auth.conf
  MediaDirectory {directory}
  LogFacility "local7"
  Timeout 30
  NopInInterval 20
  DiscoveryAuthMethod None
  MaxSessions 32
  MaxConnections 4
  MaxR2T 32
  MaxOutstandingR2T 16
  DefaultTime2Wait 2
  DefaultTime2Retain 60
  FirstBurstLength 262144
  MaxBurstLength 262144
  MaxRecvDataSegmentLength 262144
  # istgt's own example says that No is not supported; whole writes go as immediate data here
  InitialR2T Yes
  ImmediateData Yes
  DataPDUInOrder Yes
  DataSequenceInOrder Yes
  ErrorRecoveryLevel 0
[UnitControl]
  AuthMethod None
  Portal UC1 127.0.0.1:{control_port}
  Netmask 127.0.0.0/8
[PortalGroup1]
  Portal DA1 127.0.0.1:{port}
[InitiatorGroup1]
  InitiatorName "ALL"
  Netmask 127.0.0.0/8
[LogicalUnit1]
  TargetName "{iqn}"
  Mapping PortalGroup1 InitiatorGroup1
  AuthMethod None
  UseDigest Auto
  UnitType Disk
  QueueDepth 64
  LUN0 Storage {disk} Auto
"""


class Istgt(Spawned):
    """istgt in the foreground with a configuration of its own."""

    name = "istgt"

    def start(self, disk: Path, directory: Path, cpu: int | None) -> list[Endpoint]:
        port = free_port()
        configuration = directory / "istgt.conf"
        text = ISTGT_CONFIGURATION.format(directory=directory, port=port, control_port=free_port(), iqn=IQN, disk=disk)
        configuration.write_text(text)
        authentication = directory / "istgt-auth.conf"
        authentication.touch(mode=0o600)
        self.spawn([find("istgt", "istgt"), "-D", "-c", str(configuration)], directory, cpu)
        self.wait_for_port(port)
        return [Endpoint("127.0.0.1", port, IQN, 0, self.process.pid)]


class Echo48(Spawned):
    """The lower bound: loopback TCP itself."""

    name = "echo48"

    def start(self, disk: Path, directory: Path, cpu: int | None) -> list[Endpoint]:
        port = free_port()
        self.spawn([str(build("echo48")), str(port)], directory, cpu)
        self.wait_for_port(port)
        return [Endpoint("127.0.0.1", port, "", 0, self.process.pid, raw=True)]


PEERS: dict[str, type[Peer]] = {peer.name: peer for peer in (Ours, Tgtd, Istgt, Echo48, TgtdDirect)}
USUAL = (Ours.name, Tgtd.name, Istgt.name, Echo48.name)
