"""docs/scaling.md has the tables that the model makes of the parts that were kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from .programs import BENCHMARKS, run_program

import scaling  # isort: skip


def test_the_page_is_what_the_model_says(project: Path) -> None:
    made = run_program("scaling.py", "model", str(BENCHMARKS / "scaling.json"))
    assert made.returncode == 0, made.stderr
    page = (project / "docs/scaling.md").read_text()
    for table in made.stdout.strip().split("\n\n"):
        assert table in page


def test_threads_that_lose_nothing_add_up_and_others_do_not() -> None:
    assert scaling.rate(2.0, 2.0, 64) == pytest.approx(64 * 500_000)
    assert scaling.rate(2.0, 1.0, 2) == pytest.approx(500_000)  # two do as much as one
    assert scaling.rate(2.0, 1.6, 2) == pytest.approx(800_000)
    assert scaling.rate(2.0, 2.2, 2) == pytest.approx(1_000_000)  # a measurement of more than twice is noise
