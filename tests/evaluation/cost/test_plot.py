"""The plot of vtok cost."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from vtok.evaluation.cost.measure import Cost
from vtok.evaluation.cost.plot import draw_costs


def test_axes_are_labelled_with_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path: figures.append(figure))
    costs = {
        frames: {"vtok": Cost(frames, 20 * frames, encode=[0.00002 * frames], prefill=[frames / 10])}
        for frames in (30, 1920)
    }
    draw_costs(costs, tmp_path / "cost.png")
    shown = []
    for axes in figures[0].axes:
        low, high = axes.get_ylim()
        ticks = zip(axes.get_yticks(), axes.yaxis.get_major_formatter().format_ticks(axes.get_yticks()), strict=True)
        shown.append([label for value, label in ticks if low <= value <= high])
    assert shown == [["1,000", "10,000"], ["1", "10"], ["10,000", "100,000"]]
