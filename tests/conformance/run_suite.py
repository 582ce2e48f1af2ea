#!/usr/bin/env python3
"""Run libiscsi's conformance suite (iscsi-test-cu), one process per test, against one LUN, and count honestly.

    run_suite.py PORTAL IQN LUN OUT.tsv [options]
    run_suite.py 127.0.0.1:3260 iqn.2026-11.example:disk 0 out.tsv

OUT.tsv has one line per test: Suite.Test, result, reason. A result is PASS, FAIL, SKIP or TIMEOUT; ``judge.py`` says
what makes it so. The last line on stdout is the count. Exit status: 0 nothing failed or timed out (nor was skipped,
with --strict), 1 otherwise, 2 it could not run at all.

Sanitize.Reset, Sanitize.Overwrite and OrWrite.Verify get at least 200 s (see SLOW). MultipathIO gets the URL twice (two
sessions to one portal are enough).
ReadOnly.ReadOnlySBC skips on a writable LUN: it is then run once more between ``iscsi-swp -s on`` and
``iscsi-swp -s off``. Only the standard library is used.
"""

from __future__ import annotations

import argparse
import collections
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

sys.path.insert(0, str(Path(__file__).resolve().parent))

from judge import Outcome, Verdict, build_shim, judge

TOOL = "iscsi-test-cu"

SLOW = {"Sanitize.Reset": 200.0, "Sanitize.Overwrite": 200.0, "OrWrite.Verify": 200.0}
"""Seconds for tests that need more than the usual time even on a perfect target: Sanitize.Reset wants the SANITIZE
still running 3 s and about 5 s after its start and then polls with sleep(60). On a disk that is slow enough for that,
Sanitize.Overwrite, which waits for the end of several, takes as long, and OrWrite.Verify half a minute to a minute
where there is other work, too."""


def list_tests() -> list[str]:
    """Names 'Suite.Test' of the ALL family, in the tool's own order."""
    listing = subprocess.run([TOOL, "--list"], capture_output=True, text=True, timeout=30, check=False).stdout
    names = []
    for line in listing.splitlines():
        parts = line.strip().split(".")
        if len(parts) == 3 and parts[0] == "ALL":
            names.append(f"{parts[1]}.{parts[2]}")
    return names


def run_one(command: list[str], env: dict[str, str], timeout: float) -> Outcome:
    """Run one process in a session of its own, which is killed whole at the timeout."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
        start_new_session=True,
    )
    timed_out = False
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        timed_out = True
        os.killpg(process.pid, signal.SIGKILL)  # our own child's group only
        output, _ = process.communicate()
    return Outcome(process.returncode, output.decode("utf-8", "replace"), timed_out)


@dataclass
class Suite:
    """The suite against one LUN."""

    url: str
    timeout: float
    shim: Path | None
    log_directory: Path | None = None

    def __post_init__(self) -> None:
        self.plain_env = os.environ | {"LC_ALL": "C"}
        self.env = dict(self.plain_env)
        if self.shim is not None:
            self.env["LD_PRELOAD"] = " ".join(filter(None, [os.environ.get("LD_PRELOAD"), str(self.shim)]))

    def command(self, name: str) -> list[str]:
        """The tool's command line for one test; -t takes globs, but no name holds a special character."""
        without_shim = ["stdbuf", "-oL"] if self.shim is None and shutil.which("stdbuf") else []
        urls = [self.url] * (2 if name.startswith("Multipath") else 1)
        return [*without_shim, TOOL, "-V", "--dataloss", "--allow-sanitize", f"--test=ALL.{name}", *urls]

    def run(self, name: str) -> Verdict:
        """Run one test."""
        verdict = self._attempt(name)
        writable = verdict.result == "SKIP" and "not write-protected" in verdict.reason
        if writable and name.startswith("ReadOnly."):
            if not self._write_protect("on"):
                return Verdict("SKIP", f"{verdict.reason}; iscsi-swp could not set SWP")
            try:
                verdict = self._attempt(name)
            finally:
                self._write_protect("off")
            return Verdict(verdict.result, f"with SWP=1; {verdict.reason}".rstrip("; "))
        return verdict

    def _attempt(self, name: str) -> Verdict:
        started = time.monotonic()
        command = self.command(name)
        outcome = run_one(command, self.env, max(self.timeout, SLOW.get(name, 0.0)))
        if self.log_directory is not None:
            took = time.monotonic() - started
            head = f"$ {' '.join(command)}\nstatus={outcome.status} timeout={outcome.timed_out} took={took:.2f}\n"
            (self.log_directory / f"{name}.log").write_text(head + outcome.output)
        return judge(outcome, audited=self.shim is not None)

    def _write_protect(self, state: str) -> bool:
        """Software write protect through the Control mode page; True if iscsi-swp says that it did it."""
        if shutil.which("iscsi-swp") is None:
            return False
        outcome = run_one(["iscsi-swp", f"--swp={state}", self.url], self.plain_env, 20)
        return outcome.status == 0 and "Turning SWP" in outcome.output and "fail" not in outcome.output.lower()


def count_line(counts: collections.Counter[str]) -> str:
    """The last line on stdout."""
    results = " ".join(f"{result.lower()}={counts[result]}" for result in ("PASS", "FAIL", "SKIP", "TIMEOUT"))
    return f"{results} total={counts.total()}"


def run_all(suite: Suite, names: list[str], out: TextIO, quiet: bool) -> collections.Counter[str]:
    """Run the tests, write their lines, and count."""
    counts: collections.Counter[str] = collections.Counter()
    for name in names:
        started = time.monotonic()
        verdict = suite.run(name)
        counts[verdict.result] += 1
        out.write(f"{name}\t{verdict.result}\t{verdict.reason}\n")
        out.flush()
        if not quiet:
            took = time.monotonic() - started
            print(f"{name:<44} {verdict.result:<7} {took:5.1f}s {verdict.reason[:110]}", flush=True)
    return counts


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portal", help="HOST:PORT")
    parser.add_argument("iqn")
    parser.add_argument("lun")
    parser.add_argument("out", type=Path, help="output .tsv")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds per test (30)")
    parser.add_argument("--user", default="", help="CHAP as USER%%PASSWORD, put before the host in the URL")
    parser.add_argument("--url-args", default="", help="after '?' in the URL: target_user=U&target_password=P")
    parser.add_argument("--match", default="", help="regular expression: only these Suite.Test names")
    parser.add_argument("--no-audit", action="store_true", help="do not build or use the LD_PRELOAD library")
    parser.add_argument("--logdir", type=Path, help="keep each test's full output here")
    parser.add_argument("--strict", action="store_true", help="a SKIP makes the exit status 1 too")
    parser.add_argument("-q", "--quiet", action="store_true", help="print only the count line")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    if shutil.which(TOOL) is None:
        print(f"no {TOOL} (Debian package libiscsi-bin)", file=sys.stderr)
        return 2
    user = f"{arguments.user}@" if arguments.user else ""
    options = f"?{arguments.url_args}" if arguments.url_args else ""
    url = f"iscsi://{user}{arguments.portal}/{arguments.iqn}/{arguments.lun}{options}"
    names = [name for name in list_tests() if re.search(arguments.match, name)]
    if not names:
        print("no test matches", file=sys.stderr)
        return 2
    if arguments.logdir:
        arguments.logdir.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as directory, arguments.out.open("w") as out:
        shim = None if arguments.no_audit else build_shim(Path(directory))
        suite = Suite(url, arguments.timeout, shim, arguments.logdir)
        counts = run_all(suite, names, out, arguments.quiet)
    audit = "off" if shim is None else "on"
    print(f"{count_line(counts)} | audit={audit} | {time.monotonic() - started:.0f}s")
    bad = counts["FAIL"] + counts["TIMEOUT"] + (counts["SKIP"] if arguments.strict else 0)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
