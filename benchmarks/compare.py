"""Compare our target with tgtd, istgt and the bound under the same loads; see README.md beside this file."""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from cases import CASES, CHAP, Case, Setting, families, wanted_cases
from disk import check_pattern, chill, prepare, settle
from loadgen import Endpoint, MissingError, Sample, build, cache_directory, run
from peer import Peer, Place
from peers import PEERS, USUAL, Before
from report import MARKS, has_marks, put_into, render, write_plot
from results import REFERENCE, Results, write_json

from iscsitools.initiator import LoginError, ProtocolError

QUICK = {"rounds": 3, "seconds": 0.5, "warm_up": 0.2, "size": 256, "trials": 1}
"""All loads in a quarter of an hour."""
USUALLY = {"rounds": 10, "seconds": 2.0, "warm_up": 0.5, "size": 1024, "trials": 3}
ATTEMPTS = 5
UNCACHED = frozenset({Setting.COLD, Setting.DIRECT})


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="all loads in 15 minutes: fewer and shorter rounds")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (default 10; quick: 3)")
    parser.add_argument("--seconds", type=float, help="seconds measured in each run (default 2; quick: 0.5)")
    parser.add_argument("--warm-up", type=float, help="seconds before that (default 0.5; quick: 0.2)")
    parser.add_argument("--trials", type=int, help="short runs to find tgtd's best way (default 3; quick: 1)")
    parser.add_argument("--size", type=int, help="size of the served file in MiB (default 1024; quick: 256)")
    parser.add_argument("--peers", default=",".join(USUAL), help="default %(default)s; also istgt")
    parser.add_argument("--cases", default="", help="loads by name or part of a name, separated by semicolons")
    parser.add_argument("--list", action="store_true", help="print the names of all loads and what is aimed at")
    parser.add_argument("--disk", type=Path, help="the file to serve; made when it is not there")
    parser.add_argument("--before", type=Path, help="also measure the iscsitools of this other checkout")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--into", type=Path, help="put the first table, as Markdown, between the marks of this file")
    parser.add_argument("--summary", action="store_true", help="print the first table only")
    parser.add_argument("--json", type=Path, help="write every sample to this file")
    parser.add_argument("--plot", type=Path, help="write a plot to this file (.png or .svg)")
    arguments = parser.parse_args()
    for name, value in (QUICK if arguments.quick else USUALLY).items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    if arguments.into and not has_marks(arguments.into):
        parser.error(f"{arguments.into} is no file with the lines {' and '.join(MARKS)}")
    if min(arguments.rounds, arguments.trials, arguments.size) < 1 or arguments.seconds <= 0:
        parser.error("rounds, trials, size and seconds have to be positive")
    return arguments


def say(text: str) -> None:
    """Progress, apart from the result."""
    print(text, file=sys.stderr, flush=True)


def processors() -> tuple[int | None, int | None]:
    """The CPUs of the target and of the generator; no pinning when there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[1]) if len(usable) > 1 else (None, None)


class Bench:
    """The runs themselves."""

    def __init__(self, arguments: argparse.Namespace, disk: Path, directory: Path) -> None:
        self.arguments = arguments
        self.disk = disk
        self.disks = (disk, Before.copy_of(disk)) if arguments.before else (disk,)
        self.directory = directory
        self.target_cpu, self.cpu = processors()
        self.results = Results(arguments.rounds, arguments.seconds)

    def note(self, text: str) -> None:
        """Say something that belongs to the results, once."""
        if text not in self.results.notes:
            self.results.notes.append(text)
            say(text)

    def start(self, peer: Peer, setting: Setting) -> list[Endpoint]:
        """Start a target and check it with a pattern."""
        own = Path(tempfile.mkdtemp(prefix=f"{peer.name}-", dir=self.directory))
        endpoints = peer.start(Place(self.disk, own, self.target_cpu, setting))
        try:
            for endpoint in endpoints:
                chap = CHAP if setting is Setting.CHAP else None
                check_pattern(endpoint, f"{peer.name}{endpoint.way}{time.monotonic_ns()}", chap)
        except BaseException:
            peer.stop()
            raise
        return endpoints

    @contextmanager
    def targets(self, names: list[str], setting: Setting) -> Iterator[dict[str, list[Endpoint]]]:
        """Start those that serve this setting; one that is missing is named and left out."""
        running: list[Peer] = []
        started: dict[str, list[Endpoint]] = {}
        try:
            for name in names:
                peer = PEERS[name]()
                if setting not in peer.settings:
                    continue
                try:
                    started[name] = self.start(peer, setting)
                except (MissingError, RuntimeError, OSError, LoginError, ProtocolError) as error:
                    self.note(f"left out: {name}, {setting.value}: {error}")
                    continue
                running.append(peer)
            yield started
        finally:
            for peer in running:
                peer.stop()

    def ready(self, setting: Setting) -> None:
        """Bring the page cache into the state that the setting wants."""
        for disk in self.disks:
            (chill if setting in UNCACHED else settle)(disk)

    def measure(self, case: Case, endpoint: Endpoint, seconds: float) -> Sample:
        """One run; one in which the machine stood still is done again, for twice the time."""
        for attempt in range(ATTEMPTS):
            self.ready(case.setting)
            longer = max(seconds, case.least_seconds) * 2**attempt
            sample = run(case, endpoint, longer, self.arguments.warm_up, self.cpu)
            if not sample.stalled:
                return sample
        raise RuntimeError(f"{case.name}: hardly anything was answered, {ATTEMPTS} times")

    def best_way(self, case: Case, name: str, ways: list[Endpoint]) -> Endpoint:
        """The endpoint with the lowest metric in a short trial."""
        if len(ways) == 1:
            return ways[0]
        found: dict[str, list[float]] = {way.way: [] for way in ways}
        for _ in range(self.arguments.trials):
            for way in ways:
                sample = self.measure(case, way, min(1.0, self.arguments.seconds))
                found[way.way].append(getattr(sample, case.metric))
        best = min(ways, key=lambda way: median(found[way.way]))
        trial = ", ".join(f"{way} {median(values):.1f}" for way, values in found.items())
        self.note(f"{case.name}: {name} with {best.way} (trial, us: {trial})")
        return best

    def choose(self, family: list[Case], peers: dict[str, list[Endpoint]]) -> list[tuple[Case, str, Endpoint]]:
        """What runs in each round: every case against every peer that it is for, each in its best way."""
        chosen = []
        for case in family:
            for name, ways in peers.items():
                if name.startswith("bound") and name not in case.bounds:
                    continue
                try:
                    chosen.append((case, name, self.best_way(case, name, ways)))
                except RuntimeError as error:
                    self.note(f"left out: {name}: {error}")
        return chosen

    def run_family(self, family: list[Case], peers: dict[str, list[Endpoint]]) -> None:
        """All rounds of the loads that are compared with each other."""
        chosen = self.choose(family, peers)
        for number in range(self.arguments.rounds):
            for case, name, endpoint in list(chosen):
                try:
                    sample = self.measure(case, endpoint, self.arguments.seconds)
                except RuntimeError as error:
                    self.note(f"left out: {name}: {error}")
                    chosen.remove((case, name, endpoint))
                    continue
                self.results.add(case, name, sample)
                value = getattr(sample, case.metric)
                say(f"{case.name} {number + 1}/{self.arguments.rounds} {name}: {value:.2f} us")

    def run(self, cases: list[Case], names: list[str]) -> None:
        """All loads, setting by setting."""
        groups = families(cases)
        for setting in Setting:
            here = [group for group in groups if group[0].setting is setting]
            if not here:
                continue
            wanted = {bound for group in here for case in group for bound in case.bounds}
            with self.targets([n for n in names if not n.startswith("bound") or n in wanted], setting) as peers:
                for group in here:
                    self.run_family(group, peers)


def list_cases() -> None:
    """The names of all loads."""
    for case in CASES:
        aim = "" if case.goal is None else f"{case.goal:g}" + (" us" if case.unit == "us" else f" of {case.reference}")
        print(f"{case.name:45} {aim}".rstrip())


def main() -> int:
    arguments = parse_arguments()
    if arguments.list:
        list_cases()
        return 0
    names = arguments.peers.split(",")
    if unknown := set(names) - set(PEERS):
        say(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
        return 2
    try:
        cases = wanted_cases(arguments.cases)
        build("iscsi-load")
    except (ValueError, MissingError) as error:
        say(str(error))
        return 2 if isinstance(error, ValueError) else 1
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a thousand connections; targets inherit it
    disk = (arguments.disk or cache_directory() / f"disk-{arguments.size}M.img").resolve()
    prepare(disk, arguments.size << 20)
    if arguments.before:
        Before.use(arguments.before.resolve())
        prepare(Before.copy_of(disk), arguments.size << 20)
        names.append(Before.name)
    with tempfile.TemporaryDirectory(prefix="it-bench-") as directory:
        bench = Bench(arguments, disk, Path(directory))
        bench.run(cases, names)
    if REFERENCE not in names:
        bench.note(f"{REFERENCE} was left out, so there are no ratios to it")
    print(render(bench.results, "github" if arguments.markdown else "simple", not arguments.summary))
    if arguments.json:
        write_json(bench.results, arguments.json)
    if arguments.into:
        put_into(arguments.into, bench.results)
    if arguments.plot:
        write_plot(bench.results, arguments.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
