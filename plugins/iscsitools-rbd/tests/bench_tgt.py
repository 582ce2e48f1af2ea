"""CPU per 4 KiB read and write of this plugin and of tgt's own rbd backstore, in turns, on one Ceph.

``python3 bench_tgt.py [ROUNDS]``; Debian packages tgt and tgt-rbd beside those of Ceph, and gcc. The load is one
session, 32 commands at once, sequential blocks that were written before. Both have librbd's cache off. The bound is
librbd alone: a program in C that makes the same calls (bound.c), and no iSCSI.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ceph_cluster import Cluster, missing
from iscsitools.initiator import Plan, Session, run_load

IQN = "iqn.2026-11.example:bench"
_COUNT = 10000
_DEPTH = 32


def _cpu(pid: int) -> float:
    """Seconds of all threads of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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


_Start = Callable[[Path, str, Path], tuple[subprocess.Popen[bytes], int, int]]


def _measure(start: _Start, conf: Path, image: str, folder: Path) -> tuple[float, float]:
    """Microseconds of CPU per read and per write."""
    process, port, lun = start(conf, image, folder)
    try:
        with _connect(port) as session:
            session.read_capacity(lun)
            run_load(session, Plan(writes=2000, depth=_DEPTH, lun=lun))  # the blocks are there, and all is warm
            run_load(session, Plan(reads=1000, depth=_DEPTH, lun=lun))
            before = _cpu(process.pid)
            run_load(session, Plan(reads=_COUNT, depth=_DEPTH, lun=lun))
            between = _cpu(process.pid)
            run_load(session, Plan(writes=_COUNT, depth=_DEPTH, lun=lun))
            after = _cpu(process.pid)
    finally:
        process.kill()  # tgtd does not end otherwise while it has targets
        process.wait()
    return (between - before) / _COUNT * 1e6, (after - between) / _COUNT * 1e6


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


def main(rounds: int) -> None:
    """Print each round, and the ratios of the medians."""
    if reason := missing():
        sys.exit(reason)
    if shutil.which("tgtd") is None:
        sys.exit("tgtd is missing: apt install tgt tgt-rbd")
    folder = Path(tempfile.mkdtemp(prefix="ceph-", dir="/tmp"))
    cluster = Cluster(folder)
    found: dict[str, list[tuple[float, float]]] = {"ours": [], "tgt": [], "bound": []}
    try:
        with cluster.conf.open("a") as conf:
            conf.write("[client]\nrbd cache = false\n")
        from iscsitools_rbd.ceph import modules

        pool = cluster.client.open_ioctx("rbd")
        bound = _build_bound(folder)
        for number in range(1, rounds + 1):
            for name, start in (("ours", _start_ours), ("tgt", _start_tgt)):
                image = f"{name}-{number}"  # the lock of a target that was killed stays with its image
                modules()[1].RBD().create(pool, image, 64 << 20)
                found[name].append(_measure(start, cluster.conf, f"rbd/{image}", folder))
            modules()[1].RBD().create(pool, f"bound-{number}", 64 << 20)
            found["bound"].append(_measure_bound(bound, cluster.conf, f"bound-{number}"))
            for name, pairs in found.items():
                read, write = pairs[-1]
                print(f"{number} {name:5}  read {read:6.1f} us  write {write:6.1f} us", flush=True)
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
    for index, name in enumerate(("read", "write")):
        ours, theirs, least = (sorted(pair[index] for pair in pairs)[rounds // 2] for pairs in found.values())
        print(
            f"{name}: ours {ours:.1f} us, tgt {theirs:.1f} us, ratio {ours / theirs:.2f}; "
            f"librbd alone {least:.1f} us, {least / theirs:.2f}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
