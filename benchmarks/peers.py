"""The targets that are compared: ours, tgtd, istgt, and the lower bound; each on a port of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import ClassVar

from cases import CHAP, Setting
from istgt import Istgt
from loadgen import Endpoint, MissingError, build, pinned
from peer import IQN, Peer, Place, Spawned, find, free_port
from support.target import RunningTarget, start_target

from iscsitools.config.model import Config, Limits

BURST = 262144
LONGEST = 1 << 20
CONNECTIONS = 2000
"""Sessions and commands that our target allows."""
BUSY_POLL = 50
"""Microseconds."""
KINDS = ("rdwr", "aio")
"""tgtd's backing stores that are tried."""


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
