"""What one run of iscsi-test-cu with one test says: PASS, FAIL, SKIP or TIMEOUT.

CUnit counts a skipped test as passed; this does not. A test is SKIP when, after its "Test: NAME" line, it

- prints "[SKIPPED] ..." (what is printed before the CUnit banner, such as "[SKIPPED] REPORT_SUPPORTED_OPCODES is not
  implemented." from the set-up, is not the test's own and is ignored),
- or calls CU_PASS(...), which is how iscsi-test-cu leaves a test early; some do this without printing anything. That
  is seen only with the library below, preloaded; without a compiler such silent skips look like passes.

A failed assertion wins over a skip. "Skipping assert", "No alignment restrictions", "No granularity restrictions" and
"Skipping NUL bit test" (of a bit that SPC-4 has no more) leave out one check, not the test: it stays PASS with
"partial: ..." as its reason. A test that ends well without one assertion (Inquiry.VersionDescriptors cannot fail; the
UnmapVPD tests only assert on a mismatch) is PASS with "no assertion made".
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
typedef int (*fn)(int, unsigned, const char *, const char *, const char *, int);
__attribute__((constructor)) static void line_buffered(void) { setvbuf(stdout, NULL, _IOLBF, 0); }
int CU_assertImplementation(int ok, unsigned line, const char *cond, const char *file, const char *func, int fatal)
{
    static fn real;
    if (!real) real = (fn)dlsym(RTLD_NEXT, "CU_assertImplementation");
    if (!strncmp(cond, "CU_PASS", 7)) printf("\n@@CU_PASS %s:%u %s\n", file, line, cond);
    else printf("\n@@ASSERT %d\n", ok ? 1 : 0);
    return real(ok, line, cond, file, func, fatal);
}
"""
SILENT, ASSERTED, OURS = "@@CU_PASS", "@@ASSERT", "@@"
PARTIAL = re.compile(
    r"[Ss]kipping assert|skipping .* asserts|No alignment restrictions|No granularity restrictions"
    r"|Skipping NUL bit test"
)


def build_shim(directory: Path) -> Path | None:
    """The library that shows every assertion, or None without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    source, library = directory / "shim.c", directory / "shim.so"
    source.write_text(SHIM)
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
    done = subprocess.run(command, capture_output=True, check=False)
    return library if done.returncode == 0 else None


@dataclass(frozen=True)
class Outcome:
    """How the tool's process ended; a negative status is a signal's number."""

    status: int
    output: str
    timed_out: bool


@dataclass(frozen=True)
class Verdict:
    """The result and why."""

    result: str
    reason: str


def _short(text: str, width: int = 200) -> str:
    text = re.sub(r"\s+", " ", text).strip()
    return text if len(text) <= width else text[: width - 3] + "..."


def _body(output: str) -> str:
    """What the test itself printed: CUnit's own verdict ends it, what follows belongs to the suite's clean-up."""
    banner = re.search(r"^  Test: \S+ \.\.\.", output, re.MULTILINE)
    return output[banner.end() :].split("\nRun Summary:", 1)[0] if banner else ""


def _lines(body: str) -> list[str]:
    end = re.search(r"(?:\A|\n)(?:passed|FAILED)", body)
    return [line.strip() for line in (body[: end.start()] if end else body).splitlines()]


def _last_line(output: str) -> str:
    said = [line for line in output.splitlines() if line.strip() and not line.startswith(OURS)]
    return said[-1] if said else "no output"


def judge(outcome: Outcome, audited: bool) -> Verdict:
    """Read one run; ``audited``: the library was preloaded."""
    body = _body(outcome.output)
    lines = _lines(body)
    failures = [line for line in lines if line.startswith("[FAILED]")]
    last = _last_line(outcome.output)
    if outcome.timed_out:
        first = f" | first: {failures[0]}" if failures else ""
        return Verdict("TIMEOUT", _short(f"last: {last}{first}"))
    if outcome.status < 0:
        return Verdict("FAIL", _short(f"iscsi-test-cu died of signal {-outcome.status}; last: {last}"))
    summary = re.search(r"^\s+tests\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)", outcome.output, re.MULTILINE)
    if summary is None:
        return Verdict("FAIL", _short(f"set-up: status {outcome.status}; last: {last}"))
    total, ran, _, failed = map(int, summary.groups())
    if total != 1:
        return Verdict("FAIL", f"set-up: the name matched {total} tests")
    if ran != 1:
        return Verdict("FAIL", _short(f"set-up: test did not run (suite login failed?); last: {last}"))
    if failed or outcome.status:
        return _failed(body, failures, outcome.status)
    return _ended_well(outcome.output, lines, audited)


def _failed(body: str, failures: list[str], status: int) -> Verdict:
    asserts = re.findall(r"^\s*\d+\. (\S+?:\d+)\s+- (.*)$", body, re.MULTILINE)
    why = f"{failures[0]} @ " if failures else ""
    if not asserts:
        return Verdict("FAIL", _short(f"{why}status {status}"))
    where, condition = asserts[0]
    condition = re.sub(r"\s+Send P?R.*", "", condition)
    more = f" (+{len(asserts) - 1} more)" if len(asserts) > 1 else ""
    return Verdict("FAIL", _short(f"{why}{Path(where).name} {condition}{more}"))


def _ended_well(output: str, lines: list[str], audited: bool) -> Verdict:
    marked = [line for line in lines if "[SKIPP" in line and not line.startswith(OURS)]
    skips = [line for line in marked if not PARTIAL.search(line)]
    silent = [line for line in lines if line.startswith(SILENT) and not PARTIAL.search(line)]
    asserted = sum(1 for line in lines if line.startswith(ASSERTED))
    after = f" (after {asserted} asserts)" if asserted else ""
    if skips:
        return Verdict("SKIP", _short(skips[0].replace("[SKIPPED]", "").strip() + after))
    if silent:
        return Verdict("SKIP", _short(f"silent: {silent[0][len(SILENT) :].strip()}{after}"))
    notes = [f"partial: {line}" for line in marked][:1]
    counted = re.search(r"^\s+asserts\s+(\d+)", output, re.MULTILINE)
    if (audited and asserted == 0) or (not audited and counted is not None and int(counted[1]) == 0):
        notes.append("no assertion made")
    return Verdict("PASS", _short("; ".join(notes)))
