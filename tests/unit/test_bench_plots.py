"""The benchmarks' plots: a file of the kind asked for, and labels that do not lie on one another."""

import importlib
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

BENCHMARKS = Path(__file__).resolve().parent.parent.parent / "benchmarks"


@pytest.fixture
def plots(monkeypatch):
    """The module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("_plots")
    sys.modules.pop("_plots")


def test_fidelity_lists_every_method_of_every_checkpoint(plots, tmp_path):
    path = tmp_path / "plot.svg"
    plots.fidelity(
        {"first": {"plain": (100.0, 40.0)}, "second": {"plain": (100.0, 41.0), "exact": (400.0, 150.0)}}, path
    )
    text = path.read_text("utf-8")
    assert all(f"<!-- {shown} -->" in text for shown in ("first", "second", "1  plain", "2  exact"))


def test_marks_that_are_too_close_share_a_label(plots):
    axes = Figure((5, 5)).subplots()
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    assert plots.stacks(axes, {1: (10, 10), 2: (50, 50), 3: (11, 10), 4: (50, 90)}) == [[1, 3], [2], [4]]


def test_success_sets_the_baseline_apart(plots, tmp_path):
    """Kinds that do not have a way do without its mark."""
    marks = [plots.Mark("color", way, 0.5, 30.0) for way in ("ours", "img2img from 5", "img2img from 10")]
    path = tmp_path / "plot.svg"
    plots.success([*marks, plots.Mark("wall", "other", 0.25, 20.0)], "img2img", path)
    text = path.read_text("utf-8")
    assert [text.count(f"<!-- {shown} -->") for shown in ("color", "wall", "ours", "other", "img2img", "img2img from 5")] == [
        1, 1, 1, 1, 1, 0,
    ]  # fmt: skip


def test_growth_is_written_as_png(plots, tmp_path):
    lines = {"theirs": [(1, 2.0), (2, 4.0)], "ours": [(1, 1.0), (2, 2.0)]}
    plots.growth({"whole": {"steps": lines, "batch": lines}}, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
