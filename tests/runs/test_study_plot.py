import json
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from vtok.runs.comparison import Comparison, compare_runs
from vtok.runs.learning import read_learning
from vtok.runs.saved_run import read_run
from vtok.runs.study_plot import by_mean, draw_accuracy, draw_seed_curves

METRICS = ["alignment/arrow", "alignment/odd"]
# Accuracy of the two seeds of each method, by metric.
ACCURACY = {
    "frames": ([0.5, 0.7], [0.3, 0.3]),
    "residuals": ([0.9, 0.8], [0.4, 0.6]),
    "still": ([0.5, 0.5], [0.3, 0.3]),
}


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path: figures.append(figure))
    return figures


@pytest.fixture
def methods(make_run) -> Comparison:
    """Two seeds of three methods, evaluated twice."""
    folders, names = [], []
    for method, values in ACCURACY.items():
        for seed in (0, 1):
            summary = {}
            for metric, own in zip(METRICS, values, strict=True):
                summary |= {metric: own[seed], f"{metric}_low": 0.2, f"{metric}_high": 1.0}
                summary[f"{metric}_chance"] = 0.5 if metric == METRICS[0] else 0.33
            folder: Path = make_run(f"{method}-{seed}", {"seed": seed}, [], summary)
            entries = [
                [f"validation/{metric}", step / 1000, 0, step] for metric in METRICS for step in (100, 200 + seed)
            ]
            (folder / "metrics.jsonl").write_text(json.dumps(entries) + "\n")
            folders.append(folder)
            names.append(method)
    compared = compare_runs([read_run(folder) for folder in folders], METRICS)
    return replace(compared, settings={"method": names, "seed": [0, 1] * 3})


def test_methods_are_sorted_by_their_mean(methods: Comparison, saved: list[Figure], tmp_path: Path) -> None:
    assert by_mean(methods) == [1, 0, 2]
    draw_accuracy(methods, tmp_path / "accuracy.png")
    arrow, odd = saved[0].axes
    assert [label.get_text() for label in arrow.get_yticklabels()] == ["residuals", "frames", "still"]
    assert [arrow.get_title(), odd.get_title()] == ["arrow", "odd"]
    # For each method its seeds and its mean; the interval between them is a line of two points.
    points = [line.get_xydata().round(6).tolist() for line in arrow.lines if line.get_marker() == "o"]
    assert points[:4] == [[[0.9, 0], [0.8, 0]], [[0.85, 0]], [[0.5, 1], [0.7, 1]], [[0.6, 1]]]
    intervals = [line.get_xdata() for line in arrow.lines[:-1] if line.get_marker() != "o"]
    assert all(low <= mean[0][0] <= high for (low, high), mean in zip(intervals, points[1::2], strict=True))
    assert [axes.lines[-1].get_xdata()[0] for axes in (arrow, odd)] == [0.5, 0.33]


def test_every_seed_has_a_curve_in_front_of_those_of_the_baseline(
    methods: Comparison, saved: list[Figure], tmp_path: Path
) -> None:
    learning = read_learning(methods)
    draw_seed_curves(methods, learning, tmp_path / "learning.png", baseline=0)
    draw_seed_curves(methods, learning, tmp_path / "learning.png", baseline=None)
    compared, alone = saved
    assert len(compared.axes) == 6
    assert [axes.get_ylabel() for axes in compared.axes[::2]] == ["residuals", "frames", "still"]
    # Two seeds, two of the baseline behind them, and the line from which a metric counts as learnt.
    assert [len(axes.lines) for axes in compared.axes] == [5, 5, 3, 3, 5, 5]
    assert [len(axes.lines) for axes in alone.axes] == [3] * 6
    assert compared.axes[0].lines[3].get_xydata().tolist() == [[100, 0.1], [201, 0.201]]
