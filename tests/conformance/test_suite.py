"""libiscsi's conformance suite against our target: what it fails and skips is in expected.tsv, and nothing else.

Three times: on a stack of filters, which the event loop serves, and on a plain file that two data threads serve, or the
data path in Python. ``SANITIZE`` is for the first: on a plain file it takes other ways, or is over before it is looked
at.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.native import needs_data_threads
from support.target import start_target
from support.tools import needs

HERE = Path(__file__).resolve().parent
IQN = "iqn.2026-11.example:conformance"
LUN = (
    "file+crypt+delay:{disk},size=101M,thin=yes,removable=yes,physical_block_size=128K,"
    "crypt.key_file={key},delay.per_mib=80ms"
)
"""Encrypted, so that there is a key to change, and slow enough that a SANITIZE is found at work: see docs/scsi.md."""
PLAIN = "file:{disk},size=101M,thin=yes,removable=yes,physical_block_size=128K"
ALL, PASSED, WITHOUT_SANITIZE = 230, 228, 11


def read_results(path: Path) -> dict[str, str]:
    """Results by test name from a file of tab-separated lines."""
    lines = [line.split("\t") for line in path.read_text().splitlines() if not line.startswith("#")]
    return {fields[0]: fields[1] for fields in lines}


WAYS = {
    "loop": ("--threads", "1"),
    "threads": ("--threads", "2"),
    "python": ("--threads", "1", "--data-path", "python"),
}
"""Options of the server, by what serves the disk."""


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """What serves the disk."""
    if request.param == "threads":
        needs_data_threads()
    return str(request.param)


@pytest.fixture(scope="module")
def results(way: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What every test of the suite gave."""
    needs("iscsi-test-cu", "libiscsi-bin")
    needs("iscsi-swp", "libiscsi-bin")
    needs("cc", "gcc")
    directory = tmp_path_factory.mktemp("conformance")
    out = directory / "out.tsv"
    key = directory / "disk.key"
    key.write_bytes(os.urandom(32))
    key.chmod(0o600)
    lun = LUN if way == "loop" else PLAIN
    wanted = () if way == "loop" else ("--match", "^(?!Sanitize)")
    with start_target(
        directory, *WAYS[way], "--iqn", IQN, "--lun", "0=" + lun.format(disk=directory / "disk.img", key=key)
    ) as target:
        suite = [sys.executable, str(HERE / "run_suite.py"), "-q", "--timeout", "60", *wanted]
        subprocess.run([*suite, target.portal, IQN, "0", str(out)], check=False)
    return read_results(out)


@pytest.mark.slow
def test_none_timed_out(results: dict[str, str]) -> None:
    assert [name for name, result in results.items() if result == "TIMEOUT"] == []


@pytest.mark.slow
def test_enough_pass(way: str, results: dict[str, str]) -> None:
    left_out = 0 if way == "loop" else WITHOUT_SANITIZE
    assert len(results) == ALL - left_out
    assert list(results.values()).count("PASS") >= PASSED - left_out


@pytest.mark.slow
def test_no_other_than_expected_fails_or_skips(results: dict[str, str]) -> None:
    expected = read_results(HERE / "expected.tsv")
    found = {name: result for name, result in results.items() if result != "PASS"}
    assert {name: result for name, result in found.items() if expected.get(name) != result} == {}


@pytest.mark.slow
def test_what_is_expected_to_fail_or_skip_still_does(results: dict[str, str]) -> None:
    """A line of a test that passes now has to go from expected.tsv, so that it cannot fail again unseen."""
    expected = read_results(HERE / "expected.tsv")
    assert [name for name in expected if results.get(name) == "PASS"] == []
