"""What a good initiator gets beside one that floods the target, and how ten equal ones share it; see README.md."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from cases import Case
from compare import processors, say
from fairness_report import Answers, Shares, flood_rows, render
from loadgen import Endpoint, MissingError, build, first_line, pinned, run
from results import machine
from support.target import RunningTarget, start_target

from iscsitools.initiator import Session

HERE = Path(__file__).resolve().parent
IQN = "iqn.2026-11.example:fair"
LEAST_QUESTIONS = 3
PATIENCE = 120
"""Seconds to wait for one answer."""


@dataclass(frozen=True)
class Flood:
    """Who is there beside the good initiator. ``kind``: of floods.py; empty: nobody. ``targets``: of the server."""

    name: str
    kind: str = ""
    targets: int = 1


FLOODS = (
    Flood("alone"),
    Flood("NOP-Out", "NOP"),
    Flood("INQUIRY", "INQUIRY"),
    Flood("PERSISTENT RESERVE OUT", "PR OUT"),
    Flood("VERIFY of 1 MiB", "VERIFY"),
    Flood("Text with 512 keys", "Text"),
    Flood("SendTargets, 100 targets", "SendTargets", 100),
    Flood("SendTargets, 1000 targets", "SendTargets", 1000),
    Flood("logins", "logins"),
    Flood("watchers, 200 sessions", "watchers"),
)


def server_cpu(pid: int) -> float:
    """Milliseconds that all threads of a process had of a CPU, up to this moment (its CPU-time clock)."""
    return time.clock_gettime_ns((~pid << 3) | 2) / 1e6


def configuration(targets: int) -> str:
    """The configuration of a server with one disk in memory and further empty ones."""
    parts = ["[limits]\nmax_connections = 2000\nmax_sessions = 2000\n"]
    parts.append(f'[[target]]\niqn = "{IQN}"\n[[target.lun]]\nstore = "ram:64M"\n')
    more = '[[target]]\niqn = "iqn.2026-11.example:further{}"\n[[target.lun]]\nstore = "null:1M"\n'
    parts += [more.format(number) for number in range(1, targets)]
    return "".join(parts)


@contextmanager
def server(targets: int, cpu: int | None, how: Sequence[str]) -> Iterator[RunningTarget]:
    """A new server for each flood, so that none finds the rest of another one."""
    with tempfile.TemporaryDirectory(prefix="it-fair-") as name:
        file = Path(name) / "fair.toml"
        file.write_text(configuration(targets))
        arguments = ("--config", str(file), "--name", "fair", "--log-level", "error", *how)
        target = start_target(Path(name), *arguments, prefix=pinned(cpu), python=sys.executable)
        try:
            yield target
        finally:
            target.kill()


def start_flood(flood: Flood, target: RunningTarget, cpu: int | None) -> subprocess.Popen[str]:
    """Start the flood and return when it has begun. Raises RuntimeError when it could not."""
    host, port = target.addresses[0]
    watch = target.runtime / "iscsitools" / "fair.watch"
    command = [sys.executable, str(HERE / "floods.py"), flood.kind, host, str(port), IQN, str(watch)]
    process = subprocess.Popen(
        pinned(cpu) + command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    if process.stdout.readline() != "flooding\n":
        _, errors = process.communicate()
        raise RuntimeError(f"the flood does not begin: {errors.strip().rpartition(chr(10))[2]}")
    return process


def end_flood(process: subprocess.Popen[str], answers: Answers) -> None:
    """End the flood and note what it says of itself."""
    try:
        output, errors = process.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
    if not output.strip():
        answers.trouble = answers.trouble or f"the flood ended: {first_line(errors[::-1])[::-1]}"
        return
    for name, value in json.loads(output).items():
        setattr(answers, name, value)


@contextmanager
def at_once() -> Iterator[None]:
    """Have this process run as soon as an answer is there, where it may (as root).

    What the server does while this process waits for its CPU would be counted as if it had been done before the answer.
    """
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def ask(session: Session, pid: int, answers: Answers, seconds: float, one_cpu: bool) -> None:
    """Read 4 KiB again and again, with a pause between an answer and the next question."""
    begin = time.monotonic()
    while time.monotonic() < begin + seconds or len(answers.latency) < LEAST_QUESTIONS:
        cpu, start = server_cpu(pid), time.perf_counter()
        session.read(0, 8)
        passed = (time.perf_counter() - start) * 1e3
        answers.latency.append(passed)
        # The clock may be late at the question. Of the one CPU that the server has it took no more than what passed.
        answers.cpu.append(min(server_cpu(pid) - cpu, passed) if one_cpu else server_cpu(pid) - cpu)
        time.sleep(0.005)
    answers.seconds = time.monotonic() - begin


def measure(flood: Flood, seconds: float, how: Sequence[str]) -> Answers:
    """A good initiator's questions beside one flood. ``how``: options of the server."""
    server_side, other_side = processors()
    answers = Answers(flood.name, [], [], seconds)
    with server(flood.targets, server_side, how) as target:
        session = Session.connect(target.addresses[0], IQN, initiator="iqn.2026-11.example:good", timeout=PATIENCE)
        session.read_capacity()
        process = start_flood(flood, target, other_side) if flood.kind else None
        time.sleep(0.5 if process else 0)
        try:
            with at_once():
                ask(session, target.pid, answers, seconds, server_side is not None)
        except OSError as error:
            answers.trouble = f"the good initiator: {error or type(error).__name__}"
        finally:
            if process:
                end_flood(process, answers)
            session.close()
    return answers


def measure_shares(rounds: int, seconds: float, how: Sequence[str]) -> list[Shares]:
    """Ten equal connections, reading and writing."""
    server_side, other_side = processors()
    found = []
    for mode in ("randread", "randwrite"):
        case = Case(f"4K {mode[4:]} 10x QD4", "shares", mode, depth=4, connections=10)
        with server(1, server_side, how) as target:
            host, port = target.addresses[0]
            at = Endpoint(host, port, IQN, 0, target.pid)
            shares = [run(case, at, seconds, 0.3, other_side).fairness for _ in range(rounds)]
        found.append(Shares(case.name, shares))
        say(f"{case.name}: {median(shares):.2f}")
    return found


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each flood (default 4)")
    parser.add_argument("--rounds", type=int, default=5, help="of ten equal connections (default 5; 0: none)")
    parser.add_argument(
        "--floods", default="", help="only those with one of these in the name, separated by semicolons"
    )
    parser.add_argument("--threads", type=int, default=1, help="data threads of the server (default 1: none)")
    parser.add_argument(
        "--data-path", choices=["auto", "native", "python"], default="auto",
        help="which data path the server has (default: the one in C, where it was built)",
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="print the names of all floods")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--json", type=Path, help="write every answer's figures to this file")
    return parser.parse_args()


def wanted_floods(text: str) -> list[Flood]:
    """Floods by parts of their names. Raises ValueError for a part that is in none."""
    parts = [part.strip() for part in text.split(";") if part.strip()]
    for part in parts:
        if not any(part in flood.name for flood in FLOODS):
            raise ValueError(f"no flood has {part!r} in its name; --list shows them")
    return [flood for flood in FLOODS if not parts or any(part in flood.name for part in parts)]


def main() -> int:
    arguments = parse_arguments()
    if arguments.list:
        print("\n".join(flood.name for flood in FLOODS))
        return 0
    try:
        floods = wanted_floods(arguments.floods)
        if arguments.rounds:
            build("iscsi-load")
    except (ValueError, MissingError) as error:
        say(str(error))
        return 2 if isinstance(error, ValueError) else 1
    how = ("--data-path", arguments.data_path, "--threads", str(arguments.threads))
    measured = []
    for flood in floods:
        try:
            measured.append(measure(flood, arguments.seconds, how))
        except RuntimeError as error:
            measured.append(Answers(flood.name, [], [], arguments.seconds, trouble=str(error)))
        say("  ".join(flood_rows(measured[-1:])[0]))
    shares = measure_shares(arguments.rounds, 1.0, how) if arguments.rounds else []
    print(render(measured, shares, "github" if arguments.markdown else "simple"))
    if arguments.json:
        document = {
            "machine": machine(),
            "floods": [asdict(a) for a in measured],
            "shares": [asdict(s) for s in shares],
        }
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
