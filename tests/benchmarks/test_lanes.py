"""The data threads' benchmark without sockets runs, and serves every form."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from support.native import needs_data_path

from .programs import needs_compiler, run_program

from together import Stretch, together  # isort: skip


@pytest.mark.skipif(sys.platform != "linux", reason="threads are pinned as Linux does it")
def test_each_form_is_served_and_has_a_ceiling(tmp_path: Path) -> None:
    needs_data_path()
    needs_compiler()
    options = ("--rounds", "1", "--seconds", "0.01", "--mib", "4", "--threads", "1", "--folder", str(tmp_path))
    done = run_program("lanes.py", *options, "--json", str(tmp_path / "found"))
    lines = json.loads((tmp_path / "found").read_text())
    assert len(lines) == 9, done
    assert all(line["one"] > 0 and line["bare"] > 0 and line["of it"][0] > 0 for line in lines)


def stretches(*rows: tuple[int, ...]) -> list[Stretch]:
    return [Stretch(*row) for row in rows]


def test_a_stretch_without_its_processor_counts_for_nobody() -> None:
    one = stretches((0, 100, 99), (100, 200, 50), (200, 300, 98))
    assert together([one]) == [99, 98]
    other = stretches((0, 150, 149), (150, 300, 150))
    assert together([one, other]) == [99, 98]  # both of the other's were beside the one that was disturbed


def test_who_waits_for_a_lock_is_not_disturbed_by_that_but_by_who_takes_its_processor() -> None:
    assert together([stretches((0, 100, 40, 3, 0), (100, 200, 99, 0, 1), (200, 300, 60, 2, 1))]) == [40]


def test_stretches_that_follow_each_other_cover_what_lies_across_their_border() -> None:
    one = stretches((0, 100, 100), (100, 200, 100), (210, 300, 90))
    other = stretches((50, 150, 100), (205, 290, 85))
    assert together([one, other]) == [100]
    assert together([other, one]) == [100]


def test_a_stretch_is_beside_all_others_or_none() -> None:
    one, short = stretches((0, 100, 100)), stretches((0, 90, 90))
    assert sorted(together([one, one, short])) == [90]
    assert together([one, []]) == []
