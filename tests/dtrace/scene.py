"""One run of a target under everything that watches it: tracers, its own recording, and a load of known numbers.

Writes into a folder: of each tracer NAME.txt, NAME.err and NAME.status; record.trace; NAME.serve.txt of each target;
expected.json.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from dtrace import load
from iscsitools.initiator import Opcode

TARGET: Final = "iqn.2026-11.example:disk"
NAME: Final = "scene"
CLIENTS: Final = ("127.0.0.1", "::1")
SCRIPTS: Final = (
    "iscsiwho", "iscsiio", "iscsirwlat", "iscsisnoop", "iscsicmds", "iscsirwtime", "iscsixfer", "iscsislower",
    "iscsiphases", "iscsitop", "iscsilat", "iscsiseek", "iscsireserve", "iscsilogin",
)  # fmt: skip
ARGUMENTS: Final[Mapping[str, Sequence[str]]] = {"iscsislower": ("0",), "iscsitop": ("10",)}
"""Every command; and an interval that leaves even a dtrace of a guest that is emulated the time to clear its sums."""
OTHERS: Final = ("guidewho", "guidexfer", "bookio")
STARTED: Final = ("Tracing...", "Recording to ")
_PATIENCE: Final = 900.0  # a guest without hardware help on a busy machine


def serve(out: Path, *more: str, name: str = NAME) -> tuple[subprocess.Popen[bytes], dict[str, int]]:
    """Start a target on both loopback addresses; returns it and its ports by client address, which is the same."""
    log = out / f"{name}.serve.txt"
    # One thread fires all, so that lines come in the order of the commands; who asks for more in ``more`` gets them.
    how = ["--iqn", TARGET, "--lun", "ram:64M", "--threads", "1"]
    command = [sys.executable, "-m", "iscsitools", "serve", "--name", name, *how]
    with open(log, "wb") as output:
        portals = ["--portal", "127.0.0.1:0", "--portal", "[::1]:0"]
        process = subprocess.Popen([*command, *portals, *more], stdout=output, stderr=subprocess.STDOUT)
    wait_for(lambda: " listens on " in log.read_text(), process)
    first = next(line for line in log.read_text().splitlines() if " listens on " in line)
    ports = [int(word.rstrip(",").rpartition(":")[2]) for word in first.split(" listens on ")[1].split()]
    return process, dict(zip(CLIENTS, ports, strict=True))


def wait_for(condition: object, *processes: subprocess.Popen[bytes]) -> None:
    """Ask until it is so; fails when a process that is needed for it ends, or after a long time."""
    assert callable(condition)
    end = time.monotonic() + _PATIENCE
    while not condition():
        for process in processes:
            if process.poll() is not None:
                raise RuntimeError(f"{process.args!r} ended with status {process.returncode}")
        if time.monotonic() > end:
            raise TimeoutError("it does not come about")
        time.sleep(0.05)


def start(out: Path, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a tracer."""
    with open(out / f"{name}.txt", "wb") as text, open(out / f"{name}.err", "wb") as errors:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=text, stderr=errors, preexec_fn=_heed_interrupts
        )


def _heed_interrupts() -> None:
    """A shell's background process ignores SIGINT, and so would the tracers, which inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def ready(out: Path, name: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a tracer says that it traces."""
    files = [out / f"{name}.txt", out / f"{name}.err"]
    wait_for(lambda: any(line.startswith(STARTED) for file in files for line in file.read_text().splitlines()), process)


def wake(ports: Mapping[str, int]) -> None:
    """Have the target look which probes are enabled: it does so whenever it wakes up, before it does anything."""
    for address, port in ports.items():
        for _ in range(2):
            socket.create_connection((address, port)).close()


def stop(out: Path, tracers: Mapping[str, subprocess.Popen[bytes]]) -> None:
    """End the tracers as Ctrl-C does, and note how they ended."""
    for process in tracers.values():
        process.send_signal(signal.SIGINT)
    for name, process in tracers.items():
        (out / f"{name}.status").write_text(f"{ended(process)}\n")


def ended(process: subprocess.Popen[bytes]) -> int:
    """Wait for the end of a tracer that was told to end; returns its status.

    bpftrace 0.17 looks whether a signal came and then waits for events without an end: one that comes in between is
    only seen at the next event. To be stopped and go on wakes it up, and does nothing else.
    """
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        try:
            return process.wait(5)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGSTOP)
            process.send_signal(signal.SIGCONT)
    raise TimeoutError(f"{process.args!r} does not end")


def play(out: Path, tracers: Mapping[str, Sequence[str]], *more: str) -> None:
    """Run it all. The second session is open when the target is told to end, which is what sends an async message."""
    out.mkdir(parents=True, exist_ok=True)
    target, ports = serve(out, *more)
    pid = {"{pid}": str(target.pid)}
    record = [sys.executable, "-m", "iscsitools", "record", "--name", NAME, "-o", str(out / "record.trace")]
    commands = {name: [pid.get(word, word) for word in words] for name, words in tracers.items()}
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        running["record"] = start(out, "record", record)
        ready(out, "record", running["record"])
        names = list(commands)
        for at in range(0, len(names), 2):  # each takes a processor while it compiles, and a guest has two
            running |= {name: start(out, name, commands[name]) for name in names[at : at + 2]}
            for name in names[at : at + 2]:
                ready(out, name, running[name])
        wake(ports)
        sessions = {a: load.mixed((a, ports[a]), TARGET, f"iqn.2026-11.example:{i}") for i, a in enumerate(CLIENTS)}
        load.reserve(*sessions.values())
        refused = {
            a: [load.refused_login((a, ports[a]), f"iqn.2026-11.example:{i}") for i in range(load.REFUSED_LOGINS)]
            for a in CLIENTS
        }
        sessions[CLIENTS[0]].logout()
        target.send_signal(signal.SIGTERM)
        last = sessions[CLIENTS[1]]
        last.until(lambda pdu: pdu.opcode == Opcode.ASYNC_MESSAGE)
        last.logout()
        (out / "serve.status").write_text(f"{target.wait(_PATIENCE)}\n")
        found = {
            address: load.expected(session.log, *refused[address]).to_json() for address, session in sessions.items()
        }
        (out / "expected.json").write_text(json.dumps(found))
        # The slowest tracers report once a second.
        time.sleep(3)
        stop(out, running)
    finally:
        for process in (target, *running.values()):
            if process.poll() is None:
                process.kill()


def dtrace_tracers(dtrace: Sequence[str], project: Path, own: Path) -> dict[str, list[str]]:
    """The D scripts of the project and those of a folder. ``dtrace``: the program, with -L where it is needed.

    Scripts in the form of other targets' are in the folder ``others`` of that one; `iscsitools dtrace run` runs them.
    """
    files = [project / f"{name}.d" for name in SCRIPTS] + sorted(own.glob("*.d"))
    run = [sys.executable, "-m", "iscsitools", "dtrace", "run"]
    others = {name: [*run, "--name", NAME, str(own / "others" / f"{name}.d")] for name in OTHERS}
    return {file.stem: [*dtrace, "-s", str(file), *ARGUMENTS.get(file.stem, ())] for file in files} | others
