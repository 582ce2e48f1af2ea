"""The plot is a picture of the right kind, and its errors name the way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from iscsitools.trace.views import plot
from iscsitools.trace.views.over_time import GridView

from .traffic import mixed


def view() -> GridView:
    filled = GridView(plot.COLUMNS)
    for event in mixed().events():
        filled.feed(event)
    return filled


@pytest.mark.parametrize(("name", "begins"), [("a.png", b"\x89PNG\r\n"), ("a.svg", b"<?xml")])
def test_a_picture_is_written(tmp_path: Path, name: str, begins: bytes) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / name
    plot.check_plot_file(path)
    plot.write_plot(view(), path, "server a")
    assert path.read_bytes().startswith(begins)


def test_the_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(plot.PlotError, match=r"iscsitools\[plot\]"):
        plot.check_plot_file(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.jpg", "a", "none/a.png"])
def test_a_name_that_cannot_be_is_refused_before_tracing(tmp_path: Path, name: str) -> None:
    with pytest.raises(plot.PlotError):
        plot.check_plot_file(tmp_path / name)


def test_nothing_to_plot(tmp_path: Path) -> None:
    with pytest.raises(plot.PlotError, match="nothing to plot"):
        plot.write_plot(GridView(60), tmp_path / "a.png", "server a")
