"""One short round of compare.py, with its outputs."""

from __future__ import annotations

import json
from pathlib import Path

from .programs import BENCHMARKS, needs_compiler, run_program


def test_a_round_against_the_bound(tmp_path: Path) -> None:
    needs_compiler()
    result, page = tmp_path / "result.json", tmp_path / "page.md"
    page.write_text("Before.\n\n<!-- measured -->\nold table\n<!-- end of what was measured -->\n\nBehind.\n")
    names = "4K read QD32;4K write, both digests;login, CHAP"
    done = run_program(
        "compare.py", "--cases", names, "--peers", "iscsitools,bound", "--rounds", "1", "--seconds", "0.2",
        "--warm-up", "0.1", "--size", "16", "--json", str(result), "--markdown", "--into", str(page),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert text.startswith("Before.\n\n<!-- measured -->\n\n1 interleaved rounds of 0.2 s;")
    assert text.endswith("\n\n<!-- end of what was measured -->\n\nBehind.\n")
    assert "| 4K read QD32" in text
    assert "old table" not in text
    document = json.loads(result.read_text())
    samples = {case["case"]: case["samples"] for case in document["cases"]}
    assert samples.keys() == {"4K read QD32", "4K write, no digests", "4K write, both digests", "login, CHAP"}
    assert samples["4K read QD32"].keys() == {"iscsitools", "bound"}
    assert all(
        sample["cpu_us_per_io"] > 0 for peers in samples.values() for found in peers.values() for sample in found
    )
    (digests,) = [case for case in document["cases"] if case["case"] == "4K write, both digests"]
    plain = samples["4K write, no digests"]["iscsitools"][0]["cpu_us_per_io"]
    own = samples["4K write, both digests"]["iscsitools"][0]["cpu_us_per_io"]
    assert digests["ratios"]["iscsitools"] == [own / plain]
    assert "| 4K read QD32" in done.stdout


def test_another_checkout_is_measured_beside_ours(tmp_path: Path) -> None:
    """This one serves as the other here; a file is served once, so it has a copy."""
    needs_compiler()
    done = run_program(
        "compare.py", "--cases", "256K read QD8", "--peers", "iscsitools", "--before", str(BENCHMARKS.parent),
        "--rounds", "1", "--seconds", "0.2", "--warm-up", "0.1",
        "--size", "16", "--disk", str(tmp_path / "disk"), "--summary",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ours/before" in done.stdout
    assert "left out: before" not in done.stdout
    assert (tmp_path / "disk.before").stat().st_size == 16 << 20
