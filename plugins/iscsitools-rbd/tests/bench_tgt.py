"""CPU per 4 KiB read and write of this plugin and of tgt's own rbd backstore, in turns, on one Ceph.

``python3 bench_tgt.py [ROUNDS]``; Debian packages tgt and tgt-rbd beside those of Ceph, and gcc. The load is one
session, 32 commands at once, sequential blocks that were written before. Both have librbd's cache off. The bound is
librbd alone: a program in C that makes the same calls (bound.c), and no iSCSI. Both targets live through all rounds,
and a round is short, so that what else the machine does hits all of them: the medians are compared.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from ceph_cluster import Cluster, missing
from iscsitools.initiator import Plan, Session, run_load

from iscsitools_rbd.ceph import modules

IQN = "iqn.2026-11.example:bench"
_COUNT = 2000
_DEPTH = 32
_SCHED = 2


def _cpu(pid: int) -> float:
    """Seconds of all threads of a process, by its own clock (clock_getcpuclockid(3) makes the number so)."""
    return time.clock_gettime((~pid << 3) | _SCHED)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _connect(port: int) -> Session:
    until = time.monotonic() + 30
    while True:
        try:
            session = Session.connect(("127.0.0.1", port), IQN, strict=False)
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
            continue
        return session


def _start_ours(conf: Path, image: str, folder: Path) -> tuple[subprocess.Popen[bytes], int, int]:
    port = _free_port()
    command = [
        sys.executable, "-m", "iscsitools", "serve", "--iqn", IQN, "--portal", f"127.0.0.1:{port}",
        "--lun", f"0=rbd:{image},conf={conf}", "--provider", "none",
    ]  # fmt: skip
    log = (folder / "ours.log").open("ab")
    return subprocess.Popen(command, stdout=log, stderr=log), port, 0


def _start_tgt(conf: Path, image: str, folder: Path) -> tuple[subprocess.Popen[bytes], int, int]:
    port, control = _free_port(), 7000 + os.getpid() % 20000
    env = {**os.environ, "TGT_IPC_SOCKET": str(folder / "tgtd"), "CEPH_CONF": str(conf)}
    log = (folder / "tgt.log").open("ab")
    command = ["tgtd", "-f", "-C", str(control), "--iscsi", f"portal=127.0.0.1:{port}"]
    process = subprocess.Popen(command, stdout=log, stderr=log, env=env)

    def admin(*arguments: str) -> None:
        until = time.monotonic() + 30
        while True:
            done = subprocess.run(
                ["tgtadm", "-C", str(control), "--lld", "iscsi", *arguments],
                env=env, capture_output=True, text=True, check=False,
            )  # fmt: skip
            if not done.returncode:
                return
            if time.monotonic() > until:
                raise RuntimeError(f"tgtadm {' '.join(arguments)}: {done.stderr}{done.stdout}")
            time.sleep(0.2)

    admin("--op", "new", "--mode", "target", "--tid", "1", "-T", IQN)
    admin("--op", "new", "--mode", "logicalunit", "--tid", "1", "--lun", "1", "--bstype", "rbd",
          "--backing-store", image, "--bsopts", f"conf={conf};id=admin")  # fmt: skip
    admin("--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL")
    return process, port, 1


class _Running:
    """A target, and a session at it."""

    def __init__(self, started: tuple[subprocess.Popen[bytes], int, int]) -> None:
        self._process, self._port, self._lun = started

    def begin(self) -> None:
        """Log in, write the blocks, and read them."""
        self._session = _connect(self._port)
        self._session.read_capacity(self._lun)
        for plan in (Plan(writes=_COUNT, depth=_DEPTH, lun=self._lun), Plan(reads=_COUNT, depth=_DEPTH, lun=self._lun)):
            run_load(self._session, plan)

    def measure(self, what: str) -> float:
        """Microseconds of CPU per read or write."""
        before = _cpu(self._process.pid)
        run_load(self._session, Plan(**{what: _COUNT}, depth=_DEPTH, lun=self._lun))
        return (_cpu(self._process.pid) - before) / _COUNT * 1e6

    def kill(self) -> None:
        """tgtd does not end otherwise while it has targets."""
        self._process.kill()
        self._process.wait()


def _build_bound(folder: Path) -> Path:
    program = folder / "bound"
    warnings = ("-Wall", "-Wextra", "-Wconversion")
    source = Path(__file__).with_name("bound.c")
    libraries = ("-l:librbd.so.1", "-l:librados.so.2")
    subprocess.run(["cc", "-O2", *warnings, "-o", str(program), str(source), *libraries], check=True)
    return program


def _measure_bound(program: Path, conf: Path, image: str) -> tuple[float, float]:
    done = subprocess.run([str(program), str(conf), image, str(_COUNT)], capture_output=True, text=True, check=True)
    read, write = map(float, done.stdout.split())
    return read, write


def _round(running: dict[str, _Running], names: list[str], found: dict[str, list[tuple[float, float]]]) -> None:
    """Each target once, with reads and then with writes."""
    reads = {name: running[name].measure("reads") for name in names}
    for name in names:
        found[name].append((reads[name], running[name].measure("writes")))


def main(rounds: int) -> None:
    """Print each round, and the ratios of the medians."""
    if reason := missing():
        sys.exit(reason)
    if shutil.which("tgtd") is None:
        sys.exit("tgtd is missing: apt install tgt tgt-rbd")
    folder = Path(tempfile.mkdtemp(prefix="ceph-", dir="/tmp"))
    cluster = Cluster(folder)
    found: dict[str, list[tuple[float, float]]] = {"ours": [], "tgt": [], "bound": []}
    running: dict[str, _Running] = {}
    try:
        with cluster.conf.open("a") as conf:
            conf.write("[client]\nrbd cache = false\n")
        pool = cluster.client.open_ioctx("rbd")
        for name in found:
            modules()[1].RBD().create(pool, name, 64 << 20)
        running["ours"] = _Running(_start_ours(cluster.conf, "rbd/ours", folder))
        running["tgt"] = _Running(_start_tgt(cluster.conf, "rbd/tgt", folder))
        for each in running.values():
            each.begin()
        bound = _build_bound(folder)
        for number in range(1, rounds + 1):
            _round(running, ["ours", "tgt"] if number % 2 else ["tgt", "ours"], found)
            found["bound"].append(_measure_bound(bound, cluster.conf, "bound"))
            told = ", ".join(f"{name} {pairs[-1][0]:.1f} {pairs[-1][1]:.1f}" for name, pairs in found.items())
            print(f"{number:3} us per read and write: {told}", flush=True)
    finally:
        for each in running.values():
            each.kill()
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
    for index, what in enumerate(("read", "write")):
        ours, theirs, least = (median(pair[index] for pair in pairs) for pairs in found.values())
        each = sorted(our[index] / their[index] for our, their in zip(found["ours"], found["tgt"], strict=True))
        print(
            f"{what}: ours {ours:.1f} us, tgt {theirs:.1f} us, ratio {ours / theirs:.2f} "
            f"({each[0]:.2f} to {each[-1]:.2f} by round); librbd alone {least:.1f} us, {least / theirs:.2f}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 25)
