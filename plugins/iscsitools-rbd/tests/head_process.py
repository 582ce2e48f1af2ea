"""A head as a process of its own, where it can be killed, stopped and, in a network namespace, cut off."""

from __future__ import annotations

import queue
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from ceph_cluster import Cluster

IQN = "iqn.2026-11.example:ha"
CEPH_ADDRESS = "10.0.0.1"
"""Where Ceph is when heads are in networks of their own."""


class HeadProcess:
    """A target that exports the image as head ``number``; the port stays when it is started again."""

    takeover = "5s"

    def __init__(self, cluster: Cluster, image: str, number: int, log: Path) -> None:
        self._cluster = cluster
        self._image = image
        self.number = number
        self._log = log
        self.killed = False
        self.address = self._address()
        self.start()

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        self.killed = False
        command = [
            sys.executable, "-m", "iscsitools", "serve", "--iqn", IQN,
            "--portal", f"{self.address[0]}:{self.address[1]},{self.number}",
            "--state", str(self._log.parent / f"state-{self.number}"), "--provider", "none",
            "--lun",
            f"0=rbd:{self._image},conf={self._cluster.conf},head={self.number},wait=3s,takeover={self.takeover}",
        ]  # fmt: skip
        with self._log.open("ab") as log:
            self.process = subprocess.Popen([*self._where(), *command], stdout=subprocess.PIPE, stderr=log, text=True)
        self._connect()
        lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(self.process, lines), daemon=True)
        self._reader.start()
        until = time.monotonic() + 60
        while True:
            line = lines.get(timeout=max(0.1, until - time.monotonic()))
            assert line, f"head {self.number} has ended: {self._log.read_text()[-2000:]}"
            if found := re.search(r"listens on ([\d.]+):(\d+)", line):
                self.address = (found[1], int(found[2]))
                return

    def _address(self) -> tuple[str, int]:
        """Where it listens at first."""
        return "127.0.0.1", 0

    def _where(self) -> list[str]:
        """What starts it somewhere else."""
        return []

    def _connect(self) -> None:
        """Give it its network."""

    @staticmethod
    def _read(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put("")

    def send(self, number: signal.Signals) -> None:
        """A signal to it."""
        self.process.send_signal(number)
        self.killed = number == signal.SIGKILL
        if self.killed:
            self._ended()

    def stop(self) -> int:
        """End it in an orderly way; returns its status, 0 too of one that was killed and not started again."""
        if self.killed:
            return 0
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
        return self._ended()

    def _ended(self) -> int:
        status = self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


class NamespacedHead(HeadProcess):
    """A head in a network of its own, with a link to Ceph and one to initiators; this process has one, too."""

    def __init__(self, cluster: Cluster, image: str, number: int, log: Path) -> None:
        self._links = (f"ceph{number}", f"scsi{number}")
        super().__init__(cluster, image, number, log)

    def _address(self) -> tuple[str, int]:
        return f"10.1.{self.number}.2", 3260

    def _where(self) -> list[str]:
        number = self.number
        ready = (
            "while ! ip link show ceph >/dev/null 2>&1 || ! ip link show scsi >/dev/null 2>&1; do sleep 0.05; done;"
            "ip link set lo up; ip link set ceph up; ip link set scsi up;"
            f"ip addr add 10.2.{number}.2/24 dev ceph; ip addr add 10.1.{number}.2/24 dev scsi;"
            f"ip route add {CEPH_ADDRESS} via 10.2.{number}.1"
        )
        return ["unshare", "--net", "sh", "-c", f'{ready}; exec "$@"', "head"]

    def _connect(self) -> None:
        own = Path("/proc/self/ns/net").readlink()
        while Path(f"/proc/{self.process.pid}/ns/net").readlink() == own:
            time.sleep(0.01)
        for link, network in zip(self._links, ("10.2", "10.1"), strict=True):
            ip("link", "add", link, "type", "veth", "peer", "name", link[:4], "netns", str(self.process.pid))
            ip("addr", "add", f"{network}.{self.number}.1/24", "dev", link)
            ip("link", "set", link, "up")

    def cut(self, off: bool, kind: str = "cut") -> None:
        """Pull the cable to Ceph, or to the initiator (``link``), or put it in again."""
        ip("link", "set", self._links[kind == "link"], "down" if off else "up")


def ip(*arguments: str) -> None:
    """The command."""
    subprocess.run(["ip", *arguments], check=True)
