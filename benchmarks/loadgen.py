"""Builds the C programs of ``load/`` on demand and runs the load generator."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from cases import Case

HERE = Path(__file__).resolve().parent
PROGRAMS = {
    "iscsi-load": (
        "load/main.c", "load/options.c", "load/measure.c", "load/cpu.c", "load/login.c", "load/logins.c",
        "load/capacity.c", "load/send.c", "load/receive.c", "load/crc32c.c", "load/md5.c",
    ),
    "bound": (
        "bound/main.c", "bound/receive.c", "bound/login.c", "bound/command.c", "bound/answer.c", "bound/disk.c",
        "bound/transfers.c", "bound/ring.c",
    ),
    "nodirect": ("load/nodirect.c",),
    "counting": ("load/counting.c",),
}  # fmt: skip
LIBRARIES = {
    "nodirect": ("-shared", "-fPIC", "-ldl"),
    "counting": ("-shared", "-fPIC"),
    "iscsi-load": ("-lm",),
}
WARNINGS = ("-Wall", "-Wextra", "-Wconversion")


class MissingError(Exception):
    """Something that a benchmark needs is not on this machine; the text names it in one line."""


def cache_directory() -> Path:
    """Where built programs and the benchmark's disk are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    directory = Path(base) / "iscsitools-benchmarks"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def build(program: str) -> Path:
    """The path of a program, compiled unless its sources were compiled before."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise MissingError(f"{program}: no C compiler (Debian package gcc)")
    sources = [HERE / name for name in PROGRAMS[program]]
    headers = sorted([*sources[0].parent.glob("*.h"), *HERE.glob("*.h")])
    content = b"".join(path.read_bytes() for path in [*sources, *headers])
    binary = cache_directory() / f"{program}-{hashlib.sha256(content).hexdigest()[:16]}"
    if not binary.exists():
        fresh = binary.with_suffix(f".{os.getpid()}")
        command = [compiler, "-O2", *WARNINGS, "-o", str(fresh), *map(str, sources), *LIBRARIES.get(program, ())]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MissingError(f"{program} cannot be compiled: {first_line(done.stderr)}")
        fresh.rename(binary)
    return binary


def first_line(text: str) -> str:
    """The first line that says something."""
    return next((line for line in text.splitlines() if line.strip()), "no reason given")


@dataclass(frozen=True)
class Endpoint:
    """Where a target is reached; ``way`` names one of several that it can be had in."""

    host: str
    port: int
    target: str
    lun: int
    pid: int
    way: str = ""


@dataclass(frozen=True)
class Sample:
    """One run: what the generator measured."""

    ios: float
    cpu_us_per_io: float
    iops: float
    MBps: float
    lat_us: float
    p50_us: float
    p99_us: float
    cpu_pct: float
    lg_pct: float
    conn_ios_min: float
    conn_ios_max: float

    @property
    def fairness(self) -> float:
        """The slowest connection's share of the fastest one's I/Os."""
        return self.conn_ios_min / self.conn_ios_max if self.conn_ios_max else 0.0

    @property
    def stalled(self) -> bool:
        """Too little was answered to say anything: the machine did something else."""
        return self.ios < 20 or not self.cpu_us_per_io

    def values(self) -> dict[str, float]:
        """All by name, for JSON."""
        return asdict(self)


def run(case: Case, at: Endpoint, seconds: float, warm_up: float, cpu: int | None) -> Sample:
    """Run one case against a target and return what it measured; raises RuntimeError when the run failed."""
    command = [str(build("iscsi-load")), "-j", "-H", at.host, "-p", str(at.port), "-P", str(at.pid)]
    command += ["-n", at.target, "-l", str(at.lun), "-t", str(seconds), "-w", str(warm_up)]
    command += ["-m", case.mode, "-b", str(case.block), "-q", str(case.depth), "-c", str(case.connections)]
    command += ["-M", str(case.segment), "-F", str(case.first_burst), "-B", str(case.max_burst), *case.options]
    try:
        done = subprocess.run(
            pinned(cpu) + command, capture_output=True, text=True, check=False, timeout=seconds + warm_up + 60
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{case.name}: the load generator did not end") from None
    if done.returncode:
        raise RuntimeError(f"{case.name}: {' '.join(done.stderr.split())}")
    measured = json.loads(done.stdout)
    return Sample(**{name: float(measured[name]) for name in Sample.__dataclass_fields__})


def pinned(cpu: int | None) -> list[str]:
    """The prefix that keeps a command on one CPU; nothing on a machine with one."""
    if cpu is None:
        return []
    if shutil.which("taskset") is None:
        raise MissingError("taskset is not installed (Debian package util-linux)")
    return ["taskset", "-c", str(cpu)]
