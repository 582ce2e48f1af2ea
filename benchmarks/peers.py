"""The targets that are compared: ours, tgtd, istgt, and the lower bound; each on a port of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import ClassVar

from cases import CHAP, Setting
from loadgen import Endpoint, MissingError, build, pinned
from support.target import RunningTarget, start_target

from iscsitools.config.model import Config, Limits

IQN = "iqn.2026-11.example:bench"
BURST = 262144
LONGEST = 1 << 20
CONNECTIONS = 2000
"""Sessions and commands that our target allows."""
BUSY_POLL = 50
"""Microseconds."""
KINDS = ("rdwr", "aio")
"""tgtd's backing stores that are tried."""


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


class Ours(Peer):
    """This project's target with its default settings, but for the limits that 1000 connections need."""

    name = "iscsitools"
    env: ClassVar[dict[str, str]] = {}
    """Variables of its environment."""

    def __init__(self, *more: str) -> None:
        """``more``: further options of ``serve``."""
        self.more = more

    def start(self, place: Place) -> list[Endpoint]:
        file = place.directory / "bench.toml"
        file.touch(mode=0o600)
        file.write_text(configuration(place))
        self.target: RunningTarget = start_target(
            place.directory, "--config", str(file), *self.more, prefix=pinned(place.cpu), python=sys.executable,
            env=self.env,
        )  # fmt: skip
        host, port = self.target.addresses[0]
        return [Endpoint(host, port, IQN, 0, self.target.pid)]

    def stop(self) -> None:
        self.target.stop()


class Before(Ours):
    """The ``iscsitools`` of another checkout, with a copy of the file, since a file is served once.

    What it serves with is what was built in that checkout: without its native modules, the path in Python.
    """

    name = "before"

    @classmethod
    def use(cls, checkout: Path) -> None:
        """Take the package that lies in this folder."""
        cls.env = {"PYTHONPATH": str(checkout), "PYTHONSAFEPATH": "1"}

    @staticmethod
    def copy_of(disk: Path) -> Path:
        """The file that it serves instead."""
        return disk.with_name(f"{disk.name}.before")

    def start(self, place: Place) -> list[Endpoint]:
        return super().start(replace(place, disk=self.copy_of(place.disk)))


def configuration(place: Place) -> str:
    """The configuration file of our target."""
    polled = {"top": "", "limits": ""}
    if place.setting is Setting.POLLED:
        polled[table_of_busy_poll()] = f"busy_poll = {BUSY_POLL}\n"
    name, secret = CHAP
    chap = f'[target.auth]\nmethod = "chap"\nusers = [{{ name = "{name}", secret = "{secret}" }}]\n'
    direct = ", direct = true" if place.setting is Setting.DIRECT else ""
    return (
        f"{polled['top']}[limits]\nmax_connections = {CONNECTIONS}\nmax_sessions = {CONNECTIONS}\n{polled['limits']}"
        f'[[target]]\niqn = "{IQN}"\n{chap if place.setting is Setting.CHAP else ""}'
        f"[[target.lun]]\nqueue_depth = {CONNECTIONS}\n"
        f'store = {{ kind = "file", what = "{place.disk}"{direct} }}\n'
    )


def table_of_busy_poll() -> str:
    """Where in the configuration the option is; raises MissingError when this version has none."""
    for table, model in (("limits", Limits), ("top", Config)):
        if "busy_poll" in {field.name for field in fields(model)}:
            return table
    raise MissingError("this version of iscsitools has no busy_poll")


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
    """tgt's daemon with one target for each of its backing stores that serves the setting."""

    name = "tgtd"
    control = 77

    def start(self, place: Place) -> list[Endpoint]:
        port = free_port()
        direct = place.setting is Setting.DIRECT
        self.env = {"TGT_IPC_SOCKET": str(place.directory / "tgtd")}
        # aio opens the file with O_DIRECT; from the page cache it takes a library that takes that flag away
        daemon_env = self.env if direct else self.env | {"LD_PRELOAD": str(build("nodirect"))}
        self.tgtadm = find("tgtadm", "tgt")
        command = [find("tgtd", "tgt"), "-f", "-C", str(self.control), "--iscsi", f"portal=127.0.0.1:{port}"]
        self.spawn(command, place.directory, place.cpu, **daemon_env)
        self.wait_for_port(port)
        if place.setting is Setting.CHAP:
            name, secret = CHAP
            self.admin("--mode", "account", "--op", "new", "--user", name, "--password", secret)
        for tid, kind in enumerate(KINDS, 1):
            self.add_target(tid, f"{IQN}-{kind}", place, kind)
        return [Endpoint("127.0.0.1", port, f"{IQN}-{kind}", 1, self.process.pid, kind) for kind in KINDS]

    def add_target(self, tid: int, name: str, place: Place, kind: str) -> None:
        """One target with one LUN, tuned as the others are."""
        flags = ["--bsoflags", "direct"] if place.setting is Setting.DIRECT and kind == "rdwr" else []
        self.admin("--mode", "target", "--op", "new", "--tid", str(tid), "--targetname", name)
        self.admin(
            "--mode", "logicalunit", "--op", "new", "--tid", str(tid), "--lun", "1",
            "--backing-store", str(place.disk), "--bstype", kind, *flags,
        )  # fmt: skip
        tuned = {
            "MaxRecvDataSegmentLength": str(BURST),
            "MaxXmitDataSegmentLength": str(LONGEST),
            "MaxBurstLength": str(LONGEST),
            "FirstBurstLength": str(BURST),
            "InitialR2T": "No",
            "ImmediateData": "Yes",
            "HeaderDigest": "None,CRC32C",
            "DataDigest": "None,CRC32C",
        }
        for key, value in tuned.items():
            self.admin("--mode", "target", "--op", "update", "--tid", str(tid), "--name", key, "--value", value)
        if place.setting is Setting.CHAP:
            self.admin("--mode", "account", "--op", "bind", "--tid", str(tid), "--user", CHAP[0])
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
    settings = frozenset({Setting.CACHED, Setting.COLD})

    def start(self, place: Place) -> list[Endpoint]:
        port, directory, disk = free_port(), place.directory, place.disk
        configuration = directory / "istgt.conf"
        text = ISTGT_CONFIGURATION.format(directory=directory, port=port, control_port=free_port(), iqn=IQN, disk=disk)
        configuration.write_text(text)
        authentication = directory / "istgt-auth.conf"
        authentication.touch(mode=0o600)
        self.spawn([find("istgt", "istgt"), "-D", "-c", str(configuration)], directory, place.cpu)
        self.wait_for_port(port)
        return [Endpoint("127.0.0.1", port, IQN, 0, self.process.pid)]


class Bound(Spawned):
    """What it costs to do nothing but move the bytes: ``bound/``, with pread and pwrite."""

    name = "bound"
    way = "plain"
    settings = frozenset({Setting.CACHED, Setting.POLLED})

    def start(self, place: Place) -> list[Endpoint]:
        port = free_port()
        direct = ["-d"] if place.setting is Setting.DIRECT else []
        command = [str(build("bound")), "-p", str(port), "-w", self.way, *direct, str(place.disk)]
        self.spawn(command, place.directory, place.cpu)
        self.wait_for_port(port)
        return [Endpoint("127.0.0.1", port, IQN, 0, self.process.pid)]


class BoundMapped(Bound):
    """The same, its reads sent from a mapping of the file."""

    name = "bound-mapped"
    way = "mapped"


class BoundRing(Bound):
    """The same with io_uring, for what is not in the page cache."""

    name = "bound-ring"
    way = "ring"
    settings = frozenset({Setting.CACHED, Setting.COLD, Setting.DIRECT})


PEERS: dict[str, type[Peer]] = {peer.name: peer for peer in (Ours, Before, Tgtd, Istgt, Bound, BoundMapped, BoundRing)}
USUAL = (Ours.name, Tgtd.name, Bound.name, BoundMapped.name, BoundRing.name)
