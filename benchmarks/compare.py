"""Compare our target with tgtd and istgt under the same load; see README.md beside this file."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from disk import check_pattern, prepare, settle
from loadgen import CASES, Case, Endpoint, MissingError, build, cache_directory, run
from peers import PEERS, USUAL
from results import REFERENCE, Results, render, write_json, write_plot

TRIAL_ROUNDS = 3
TRIAL_SECONDS = 1.0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="interleaved rounds (default 10)")
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds measured in each run (default 3)")
    parser.add_argument("--warm-up", type=float, default=0.5, help="seconds before that (default 0.5)")
    parser.add_argument("--peers", default=",".join(USUAL), help="default %(default)s; also tgtd-direct")
    parser.add_argument("--cases", default="", help="only loads whose name contains one of these, comma-separated")
    parser.add_argument("--disk", type=Path, help="the file to serve; made when it is not there")
    parser.add_argument("--size", type=int, default=1024, help="its size in MiB (default 1024)")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--json", type=Path, help="write every sample to this file")
    parser.add_argument("--plot", type=Path, help="write a plot to this file (.png or .svg)")
    return parser.parse_args()


def say(text: str) -> None:
    """Progress, apart from the result."""
    print(text, file=sys.stderr, flush=True)


def processors() -> tuple[int | None, int | None]:
    """The CPUs of the target and of the generator; no pinning when there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[1]) if len(usable) > 1 else (None, None)


def start_peers(
    names: list[str], disk: Path, directory: Path, cpu: int | None, stack: ExitStack
) -> dict[str, list[Endpoint]]:
    """Start all and check each with a pattern; one that is missing is named and left out."""
    started = {}
    for name in names:
        peer = PEERS[name]()
        own = directory / name
        own.mkdir()
        try:
            endpoints = peer.start(disk, own, cpu)
        except (MissingError, RuntimeError) as error:
            say(f"left out: {error}")
            continue
        stack.callback(peer.stop)
        for number, endpoint in enumerate(endpoints):
            if not endpoint.raw:
                check_pattern(endpoint, seed=f"{name}{number}")
        started[name] = endpoints
    return started


class Bench:
    """The runs themselves."""

    def __init__(self, arguments: argparse.Namespace, disk: Path, generator_cpu: int | None) -> None:
        self.arguments = arguments
        self.disk = disk
        self.cpu = generator_cpu
        self.results = Results(arguments.rounds, arguments.seconds)

    def best_way(self, case: Case, name: str, ways: list[Endpoint]) -> Endpoint:
        """The endpoint with the lowest metric in a short trial."""
        if len(ways) == 1:
            return ways[0]
        found: dict[str, list[float]] = {way.target: [] for way in ways}
        for _ in range(TRIAL_ROUNDS):
            for way in ways:
                settle(self.disk)
                sample = run(case, way, TRIAL_SECONDS, self.arguments.warm_up, self.cpu)
                found[way.target].append(getattr(sample, case.metric))
        best = min(ways, key=lambda way: median(found[way.target]))
        trial = ", ".join(f"{target.rpartition('-')[2]} {median(values):.1f}" for target, values in found.items())
        note = f"{case.name}: {name} with {best.target.rpartition('-')[2]} (trial, us: {trial})"
        self.results.notes.append(note)
        say(note)
        return best

    def run_case(self, case: Case, peers: dict[str, list[Endpoint]]) -> None:
        """All rounds of one load, the peers in turn."""
        usable = {name: ways for name, ways in peers.items() if case.connections == 1 or not ways[0].raw}
        chosen = {name: self.best_way(case, name, ways) for name, ways in usable.items()}
        for number in range(self.arguments.rounds):
            for name, endpoint in chosen.items():
                settle(self.disk)
                sample = run(case, endpoint, self.arguments.seconds, self.arguments.warm_up, self.cpu)
                self.results.add(case, name, sample)
                say(f"{case.name} {number + 1}/{self.arguments.rounds} {name}: {sample.cpu_us_per_io:.2f} us/IO")


def wanted_cases(text: str) -> list[Case]:
    """Cases whose name contains one of the comma-separated parts."""
    parts = [part for part in text.split(",") if part]
    return [case for case in CASES if not parts or any(part in case.name for part in parts)]


def main() -> int:
    arguments = parse_arguments()
    try:
        build("iscsi-load")
    except MissingError as error:
        say(str(error))
        return 1
    names = arguments.peers.split(",")
    if unknown := set(names) - set(PEERS):
        say(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
        return 2
    target_cpu, generator_cpu = processors()
    disk = (arguments.disk or cache_directory() / f"disk-{arguments.size}M.img").resolve()
    prepare(disk, arguments.size << 20)
    bench = Bench(arguments, disk, generator_cpu)
    with tempfile.TemporaryDirectory(prefix="it-bench-") as directory, ExitStack() as stack:
        peers = start_peers(names, disk, Path(directory), target_cpu, stack)
        if REFERENCE not in peers:
            bench.results.notes.append(f"{REFERENCE} was left out, so there are no ratios")
        for case in wanted_cases(arguments.cases):
            bench.run_case(case, peers)
    print(render(bench.results, "github" if arguments.markdown else "simple"))
    if arguments.json:
        write_json(bench.results, arguments.json)
    if arguments.plot:
        write_plot(bench.results, arguments.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
