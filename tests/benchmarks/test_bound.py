"""The bound and the load generator: clean C, and the right bytes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.tools import missing

from .programs import BENCHMARKS, needs_compiler

from cases import CASES, Case, Setting  # isort: skip
from disk import check_pattern  # isort: skip
from loadgen import LIBRARIES, PROGRAMS, WARNINGS, Endpoint, build, run  # isort: skip

WAYS = (("plain",), ("mapped",), ("ring",), ("ring", "-d"))
IQN = "iqn.2026-11.example:bench"


@pytest.mark.parametrize("program", ["bound", "iscsi-load"])
def test_no_warning_of_the_compiler(program: str, tmp_path: Path) -> None:
    needs_compiler()
    sources = [str(BENCHMARKS / name) for name in PROGRAMS[program]]
    command = ["cc", "-O2", *WARNINGS, "-Werror", "-o", str(tmp_path / "out"), *sources, *LIBRARIES.get(program, ())]
    assert subprocess.run(command, capture_output=True, text=True, check=False).stderr == ""


@contextmanager
def bound(directory: Path, *way: str) -> Iterator[Endpoint]:
    """A bound that serves a file of 16 MiB; ends the test where the kernel does not have what the way needs."""
    needs_compiler()
    disk = directory / "disk.img"
    disk.write_bytes(bytes(16 << 20))
    command = [str(build("bound")), "-w", *way, str(disk)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline()
    try:
        if not line and way[0] == "ring":
            missing(process.stderr.read().strip())
        yield Endpoint("127.0.0.1", int(line.rpartition(":")[2]), IQN, 0, process.pid)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_what_is_written_through_the_bound_is_read_from_it(way: tuple[str, ...], tmp_path: Path) -> None:
    with bound(tmp_path, *way) as at:
        check_pattern(at, "bound")


NAMES = ("4K write, R2T", "4K write, no immediate data", "256K write, FirstBurst 64K", "4K write, WRITE(6)", "login")


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
@pytest.mark.parametrize("name", NAMES)
def test_the_load_generator_gets_good_answers(name: str, way: tuple[str, ...], tmp_path: Path) -> None:
    (case,) = [case for case in CASES if case.name == name]
    with bound(tmp_path, *way) as at:
        assert run(case, at, 0.3, 0.0, None).ios > 0


def test_a_status_that_is_not_good_ends_the_run(tmp_path: Path) -> None:
    case = Case("digests that are refused", "none", "randread", options=("-D",), setting=Setting.CACHED)
    with bound(tmp_path, "plain") as at, pytest.raises(RuntimeError, match="does not agree to digests"):
        run(case, at, 0.1, 0.0, None)
