"""A small Ceph for tests: one monitor, and OSDs that keep their objects in memory. About ten seconds.

``python3 ceph_cluster.py FOLDER [OSDS]`` makes one, prints its configuration file, and keeps it until it is ended.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from iscsitools.backstores.system_modules import import_system_module

PROGRAMS = {"ceph-mon": "ceph-mon", "ceph-osd": "ceph-osd", "monmaptool": "ceph-base"}
"""What is needed, and the Debian package of each; python3-rbd and python3-rados beside them."""
_CONF = """\
[global]
fsid = {fsid}
mon host = v1:{address}:{port}
public addr = {address}
ms bind msgr2 = false
auth cluster required = {auth}
auth service required = {auth}
auth client required = {auth}
auth allow insecure global id reclaim = false
run dir = {folder}
log file = {folder}/$name.log
mon data = {folder}/mon
mon data avail crit = 0
mon allow pool size one = true
mon osd min down reporters = 1
osd data = {folder}/osd-$id
osd objectstore = memstore
memstore device bytes = 536870912
osd heartbeat interval = 1
osd heartbeat grace = 5
osd crush chooseleaf type = 0
osd pool default size = {copies}
osd pool default min size = 1
[client.admin]
keyring = {folder}/keyring
[mon]
admin socket = {folder}/$name.asok
[osd]
admin socket = {folder}/$name.asok
"""


def missing() -> str:
    """What has to be installed, in a line; empty: nothing."""
    absent = sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})
    return f"Ceph is not installed: apt install {' '.join(absent)}" if absent else ""


class Cluster:
    """A running cluster; ``conf`` is the path of its configuration file."""

    def __init__(self, folder: Path, osds: int = 2, address: str = "127.0.0.1", cephx: bool = False) -> None:
        """``cephx``: users need keys; else nobody is asked who he is."""
        self._folder = folder
        self._cephx = cephx
        self._address = address
        self.conf = folder / "ceph.conf"
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._start(osds)
        except BaseException:
            self.stop()
            raise

    def _start(self, osds: int) -> None:
        with socket.socket() as probe:
            probe.bind((self._address, 0))
            port = probe.getsockname()[1]
        fsid = str(uuid.uuid4())
        self.conf.write_text(
            _CONF.format(
                fsid=fsid, address=self._address, port=port, folder=self._folder, copies=min(osds, 2),
                auth="cephx" if self._cephx else "none",
            )
        )  # fmt: skip
        keyring = self._folder / "keyring"
        keyring.write_text(
            f'[mon.]\nkey = {_key()}\ncaps mon = "allow *"\n'
            f'[client.admin]\nkey = {_key()}\ncaps mon = "allow *"\ncaps osd = "allow *"\n'
        )
        monmap = self._folder / "monmap"
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v1:{self._address}:{port}]", str(monmap))
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", str(monmap), "--keyring", str(keyring))
        self.start("mon.a")
        self._rados = import_system_module("rados", package="python3-rados")
        self.client = self._rados.Rados(conffile=str(self.conf))
        self.client.connect(timeout=30)
        for number in range(osds):
            ident = str(uuid.uuid4())
            assert json.loads(self.command("osd new", uuid=ident))["osdid"] == number
            (self._folder / f"osd-{number}").mkdir()
            caps = ["mon", "allow profile osd", "osd", "allow *"]
            self._keep_key(f"osd.{number}", caps, self._folder / f"osd-{number}" / "keyring")
            self._run("ceph-osd", "--mkfs", "-i", str(number), "--osd-uuid", ident)
            self.start(f"osd.{number}")
        self.wait_for(lambda: self._all_up(osds), "OSDs up")
        self.command("osd pool create", pool="rbd", pg_num=8, pgp_num=8)
        self.command("osd pool application enable", pool="rbd", app="rbd")

    def _keep_key(self, entity: str, caps: list[str], file: Path) -> None:
        found = json.loads(self.command("auth get-or-create", entity=entity, caps=caps))[0]
        file.write_text(f"[{entity}]\nkey = {found['key']}\n")

    def add_user(self, name: str, **caps: str) -> None:
        """A user of Ceph with these capabilities, whose key the configuration file leads to."""
        file = self._folder / f"keyring-{name}"
        self._keep_key(f"client.{name}", [word for pair in caps.items() for word in pair], file)
        with self.conf.open("a") as conf:
            conf.write(f"[client.{name}]\nkeyring = {file}\n")

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [program, "-c", str(self.conf), *arguments], capture_output=True, text=True, check=False, env=self._env()
        )
        assert done.returncode == 0, f"{program}: {(done.stdout + done.stderr)[:500]}"

    def _env(self) -> dict[str, str]:
        return {**os.environ, "CEPH_CONF": str(self.conf)}

    def start(self, name: str) -> None:
        """Start a daemon, again if it was killed: a memstore that was killed has lost what it had."""
        kind, ident = name.split(".")
        with (self._folder / f"{name}.out").open("ab") as out:
            self.daemons[name] = subprocess.Popen(
                [f"ceph-{kind}", "-f", "-c", str(self.conf), "-i", ident], stdout=out, stderr=out, env=self._env()
            )

    def kill(self, name: str) -> None:
        """SIGKILL: a node that lost its power."""
        daemon = self.daemons.pop(name)
        daemon.kill()
        daemon.wait()

    def signal(self, name: str, number: signal.Signals) -> None:
        """Stop or continue a daemon; when this returns, all of its threads stand still."""
        daemon = self.daemons[name]
        daemon.send_signal(number)
        if number == signal.SIGSTOP:
            self.wait_for(lambda: _stands_still(daemon.pid), f"{name} stopped")

    def command(self, prefix: str, **arguments: Any) -> str:
        """A monitor's answer to a command; raises AssertionError with what it says otherwise."""
        text = json.dumps({"prefix": prefix, "format": "json", **arguments})
        code, out, status = self.client.mon_command(text, b"")
        while code and status == "wrong fsid":  # a young monitor's map has not reached this client yet
            time.sleep(0.05)
            code, out, status = self.client.mon_command(text, b"")
        assert code == 0, f"{prefix}: {status}"
        return str(out.decode())

    def _all_up(self, osds: int) -> bool:
        """Whether they are; one that has ended, as a monitor that is just beginning may make it, is started again."""
        for name, daemon in list(self.daemons.items()):
            if daemon.poll() is not None:
                self.start(name)
        return self.osds_up() == osds

    def osds_up(self) -> int:
        """How many the monitor takes for up."""
        return int(json.loads(self.command("osd stat"))["num_up_osds"])

    def wait_for(self, what: Any, name: str, seconds: float = 60) -> None:
        """Until ``what()`` is true."""
        until = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < until, f"{name}: not within {seconds:g} s; see {self._folder}"
            time.sleep(0.05)

    def stop(self) -> None:
        """End all daemons."""
        for daemon in self.daemons.values():
            daemon.kill()
            daemon.wait()
        if hasattr(self, "client"):
            self.client.shutdown()


def _key() -> str:
    """A new secret as Ceph writes it: AES, the time, and 16 bytes."""
    return base64.b64encode(struct.pack("<hiih", 1, int(time.time()), 0, 16) + os.urandom(16)).decode()


def _stands_still(pid: int) -> bool:
    states = [file.read_text().rpartition(")")[2].split()[0] for file in Path(f"/proc/{pid}/task").glob("*/stat")]
    return set(states) == {"T"}


if __name__ == "__main__":
    if reason := missing():
        sys.exit(reason)
    made = Cluster(Path(sys.argv[1]).absolute(), int(sys.argv[2]) if len(sys.argv) > 2 else 2)
    print(made.conf, flush=True)
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: sys.exit())
    try:
        signal.pause()
    finally:
        made.stop()
