"""The SDT notes with a real tracer: bpftrace, as root, on this kernel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dtrace import fire
from support.tools import missing, needs

from iscsitools.probes.table import PROVIDER_PROBES, XFER_PROBES, Probe, info_of
from iscsitools.provider import backend
from iscsitools.provider.errors import ProviderError

FIRE = Path(fire.__file__)
ALL = (1 << len(PROVIDER_PROBES)) - 1
ENDS = ("begun", "complete")
# bpftrace before 0.24 reads arg0 to arg5 of a probe only; the others are read out of the structures.
PROGRAM = """
{attach} {{
    printf("%s %llu %llu %u %s %s ", "{name}", arg4, arg5, *(uint32*)(arg0 + 44), str(arg2), str(arg3));
    printf("%u %u %u ", *(uint32*)(arg0 + 48), *(uint32*)(arg0 + 52), *(uint32*)(arg0 + 56));
    printf("%u %u %s", *(uint32*)(arg0 + 60), *(uint32*)(arg0 + 64), str(*(uint64*)(arg0 + 72)));
    printf(" %llu %u\\n", {third});
}}
"""


@pytest.fixture(scope="module")
def bpftrace() -> str:
    program = needs("bpftrace", "bpftrace")
    if os.geteuid():
        missing("bpftrace needs root")
    try:
        if not backend.native_module().HAVE_SDT:
            missing("SDT notes are for Linux on x86-64 and arm64")
    except ProviderError as error:
        missing(str(error))
    return program


def target(mask: int, *more: str) -> subprocess.Popen[str]:
    """The program that fires, once exactly the probes of the mask are enabled."""
    command = [sys.executable, str(FIRE), "--provider", "sdt", "--mask", hex(mask), *more]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def attach(probe: Probe) -> str:
    return f"usdt:{backend.attach_path()}:iscsi:{probe.name.lower()}"


def program() -> str:
    thirds = dict.fromkeys(PROVIDER_PROBES, "0, 0")
    thirds[Probe.SCSI_COMMAND] = "*(uint64*)arg1, *(uint8*)(*(uint64*)(arg1 + 8) + 9)"
    thirds.update(dict.fromkeys(XFER_PROBES, "*(uint64*)arg1, *(uint32*)(arg1 + 32)"))
    clauses = [PROGRAM.format(attach=attach(p), name=p.label, third=thirds[p]) for p in PROVIDER_PROBES]
    return announced("".join(clauses)) + f"{attach(Probe.XFER_DONE)} {{ @done++; if (@done == 18) {{ exit(); }} }}"


def announced(clauses: str) -> str:
    """The clauses between two that say that they work: bpftrace attaches one after the other, from either end."""
    first, last = (f'interval:ms:50 {{ if (@{name} == 0) {{ printf("{name}\\n"); }} @{name} = 1; }}\n' for name in ENDS)
    return first + clauses + last


def wait_for(tracer: subprocess.Popen[str]) -> None:
    """Return when all clauses of an announced program listen."""
    assert tracer.stdout is not None
    waiting = set(ENDS)
    while waiting:
        line = tracer.stdout.readline()
        assert line, "bpftrace ended"
        waiting.discard(line.strip())


def expected() -> Iterator[str]:
    conn = fire.CONNECTION
    for probe in PROVIDER_PROBES:
        if probe in XFER_PROBES:
            xfer = fire.xfer(probe)
            itt, ttt, rest, third = xfer.itt, xfer.ttt, "0 0 0 0 0", f"{xfer.laddr} {xfer.length}"
        else:
            info = info_of(probe, fire.bhs(probe), fire.LUN)
            itt, ttt, rest = info.itt, info.ttt, " ".join(map(str, info[3:]))
            third = f"{len(fire.CDB)} {fire.CDB[9]}" if probe is Probe.SCSI_COMMAND else "0 0"
        line = f"{probe.label} {fire.LUN} {itt} {ttt} {conn.remote} {conn.target} {rest} {conn.isid} {third}"
        yield from [line] * (probe + 1)


def test_each_probe_is_seen_with_its_arguments(bpftrace: str) -> None:
    tracer = subprocess.Popen(
        [bpftrace, "-B", "line", "-e", program()], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with tracer, target(ALL, "--on-line") as fired:
        wait_for(tracer)
        out, _ = fired.communicate("\n", timeout=60)
        assert tracer.stdout is not None
        lines = tracer.stdout.read().splitlines()
    assert fired.returncode == 0, out
    assert "left enabled 0x0" in out  # every semaphore went back to 0
    seen = [line for line in lines if re.match(r"[a-z]+-[a-z]+ 5 ", line)]
    assert sorted(seen) == sorted(expected())


def test_enabling_and_disabling_again_and_again_leaves_nothing(bpftrace: str) -> None:
    with target(ALL) as idle:
        probe = attach(Probe.NOP_SEND)
        for _ in range(20):
            subprocess.run(
                [bpftrace, "-e", f"{probe} {{ @n = count(); }} BEGIN {{ exit(); }}"],
                capture_output=True, timeout=60, check=True,
            )  # fmt: skip
        assert idle.stdin is not None
        end = time.monotonic() + 30  # the kernel lets go of a tracer's probes some time after it ended
        while any(semaphores(idle.pid)) and time.monotonic() < end:
            time.sleep(0.05)
        assert semaphores(idle.pid) == (0,) * 18
        idle.terminate()


def semaphores(pid: int) -> tuple[int, ...]:
    """Read the counters out of another process: from the notes, where they are; from its maps, where it has them."""
    path = backend.attach_path()
    notes = subprocess.run(["readelf", "-n", str(path)], capture_output=True, text=True, check=True).stdout
    places = sorted(int(at, 16) for at in re.findall(r"Semaphore: (0x[0-9a-f]+)", notes))
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    base = min(int(line.split("-")[0], 16) for line in maps if line.endswith(str(path)))
    with open(f"/proc/{pid}/mem", "rb") as memory:
        counts = []
        for place in places:
            memory.seek(base + place)
            counts.append(int.from_bytes(memory.read(2), "little"))
    return tuple(counts)


def test_a_stack_leads_out_of_the_module(bpftrace: str) -> None:
    """The native module keeps frame pointers, so that ustack() finds who fired."""
    clause = f'{attach(Probe.NOP_SEND)} {{ printf("%s\\n", ustack(perf, 4)); exit(); }}'
    command = [bpftrace, "-B", "line", "-e", announced(f"{clause}\n")]
    tracer = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    with tracer, target(1 << Probe.NOP_SEND, "--on-line") as fired:
        wait_for(tracer)
        fired.communicate("\n", timeout=60)
        out, _ = tracer.communicate(timeout=60)
    stack = re.findall(r"^\s+[0-9a-f]+ (\w+)", out, re.MULTILINE)
    assert stack[:2] == ["sdt_fire", "native_on_pdu"]
    assert len(stack) > 2
