"""The loads by their names."""

from __future__ import annotations

import pytest

from .programs import run_program

from cases import CASES, families, wanted_cases  # isort: skip


def test_names_are_unique_and_what_is_compared_runs_together() -> None:
    by_name = {case.name: case for case in CASES}
    assert len(by_name) == len(CASES)
    for case in CASES:
        if case.plain:
            plain = by_name[case.plain]
            assert (plain.family, plain.setting, plain.metric) == (case.family, case.setting, case.metric)


def test_a_whole_name_is_that_load_only_and_a_part_all_that_have_it() -> None:
    assert [case.name for case in wanted_cases("4K read QD1")] == ["4K read QD1"]
    assert {case.name for case in wanted_cases("QD1, busy; 1000x")} == {"4K read QD1, busy_poll", "4K read 1000x QD1"}
    assert wanted_cases("") == list(CASES)


def test_the_plain_form_comes_along() -> None:
    assert [case.name for case in wanted_cases("4K read, DPO")] == ["4K read, plain form", "4K read, DPO"]


def test_every_load_is_in_one_family() -> None:
    groups = families(list(CASES))
    assert sorted(case.name for group in groups for case in group) == sorted(case.name for case in CASES)
    assert all(len({case.setting for case in group}) == 1 for group in groups)


@pytest.mark.parametrize(
    ("program", "option"),
    [("compare.py", "--cases"), ("fairness.py", "--floods"), ("instructions.py", "--forms"), ("where.py", "--case")],
)
def test_an_unknown_name_is_one_line(program: str, option: str) -> None:
    done = run_program(program, option, "no such thing")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "no such thing" in done.stderr


@pytest.mark.parametrize("program", ["compare.py", "fairness.py", "instructions.py", "where.py"])
def test_all_names_can_be_listed(program: str) -> None:
    done = run_program(program, "--list")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) >= 10
