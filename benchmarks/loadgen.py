"""Builds the C programs of ``load/`` on demand and runs the load generator."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

SOURCES = Path(__file__).resolve().parent / "load"
PROGRAMS = {
    "iscsi-load": ("main.c", "options.c", "login.c", "send.c", "receive.c", "cpu.c"),
    "echo48": ("echo48.c",),
    "nodirect": ("nodirect.c",),
}
LIBRARIES = {"nodirect": ("-shared", "-fPIC", "-ldl")}


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
    sources = [SOURCES / name for name in PROGRAMS[program]]
    content = b"".join(path.read_bytes() for path in [*sources, SOURCES / "load.h"])
    binary = cache_directory() / f"{program}-{hashlib.sha256(content).hexdigest()[:16]}"
    if not binary.exists():
        fresh = binary.with_suffix(f".{os.getpid()}")
        subprocess.run([compiler, "-O2", "-o", str(fresh), *map(str, sources), *LIBRARIES.get(program, ())], check=True)
        fresh.rename(binary)
    return binary


@dataclass(frozen=True)
class Case:
    """One kind of load. ``metric`` is what its ratio is made of: ``cpu_us_per_io`` or ``p50_us``."""

    name: str
    mode: str
    block: int
    depth: int
    connections: int = 1
    metric: str = "cpu_us_per_io"


CASES = (
    Case("4K read QD32", "randread", 4096, 32),
    Case("4K write QD32", "randwrite", 4096, 32),
    Case("256K read QD8", "seqread", 262144, 8),
    Case("256K write QD8", "seqwrite", 262144, 8),
    Case("4K read QD1", "randread", 4096, 1, metric="p50_us"),
    Case("4K write QD1", "randwrite", 4096, 1, metric="p50_us"),
    Case("4K read 10x QD4", "randread", 4096, 4, connections=10),
)


@dataclass(frozen=True)
class Endpoint:
    """Where a target is reached. ``raw``: echo48, which knows no login."""

    host: str
    port: int
    target: str
    lun: int
    pid: int
    raw: bool = False


@dataclass(frozen=True)
class Sample:
    """One run: what the generator measured."""

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

    def values(self) -> dict[str, float]:
        """All by name, for JSON."""
        return asdict(self)


def run(case: Case, at: Endpoint, seconds: float, warm_up: float, cpu: int | None, first_burst: int = 262144) -> Sample:
    """Run one case against a target and return what it measured; raises RuntimeError when the run failed."""
    command = [str(build("iscsi-load")), "-j", "-H", at.host, "-p", str(at.port), "-P", str(at.pid)]
    command += ["-m", case.mode, "-b", str(case.block), "-q", str(case.depth), "-c", str(case.connections)]
    command += ["-t", str(seconds), "-w", str(warm_up), "-M", "262144", "-F", str(first_burst), "-B", "262144"]
    command += ["-r"] if at.raw else ["-n", at.target, "-l", str(at.lun)]
    result = subprocess.run(pinned(cpu) + command, capture_output=True, text=True, check=False, timeout=seconds + 60)
    if result.returncode:
        raise RuntimeError(f"{case.name}: {result.stderr.strip()}")
    measured = json.loads(result.stdout)
    return Sample(**{name: float(measured[name]) for name in Sample.__dataclass_fields__})


def pinned(cpu: int | None) -> list[str]:
    """The prefix that keeps a command on one CPU; nothing on a machine with one."""
    if cpu is None:
        return []
    if shutil.which("taskset") is None:
        raise MissingError("taskset is not installed (Debian package util-linux)")
    return ["taskset", "-c", str(cpu)]
