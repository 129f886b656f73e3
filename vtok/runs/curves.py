"""Figures over the steps of a training, as the run folder keeps them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vtok.runs.comparison import Comparison
from vtok.runs.plot import Mark, panel_grid, plain
from vtok.runs.saved_run import Run
from vtok.tracking.sender import JOURNAL, parse_entries, read_lines

LOSSES = ("train/loss", "train/under", "train/visLM", "train/dec")
MOST_POINTS = 400
# Told apart by readers who do not see red and green, too; what comes after them is dashed.
LINE_COLOURS = ("#2a78d6", "#eb6834", "#1baf7a", "#eda100", "#e87ba4", "#008300", "#4a3aa7", "#e34948")
DASHES = ("none", "6 3", "2 2")


@dataclass(frozen=True)
class Curves:
    """`figures[name][run]` is the figure by step, of the run at that place of `Comparison.runs`.

    every: of the longest curve, each so many-th point is kept. without: runs that kept no figures.
    """

    figures: dict[str, dict[int, dict[int, float]]]
    every: int
    without: list[Run]


def read_curves(comparison: Comparison) -> Curves:
    """The losses, and those of the comparison's metrics that were taken more than once."""
    journals = [read_journal(run.path / JOURNAL) for run in comparison.runs]
    figures: dict[str, dict[int, dict[int, float]]] = {}
    every = 1
    for name in (*LOSSES, *comparison.metrics):
        found = {index: one[name] for index, one in enumerate(journals) if len(one.get(name, {})) > 1}
        if found and found not in figures.values():
            step = max(math.ceil(len(one) / MOST_POINTS) for one in found.values())
            figures[name] = {index: thinned(one, step) for index, one in found.items()}
            every = max(every, step)
    without = [run for run, one in zip(comparison.runs, journals, strict=True) if not one]
    return Curves(figures=figures, every=every, without=without)


def read_journal(path: Path) -> dict[str, dict[int, float]]:
    """Figures by name and step of a run's `metrics.jsonl`; a step that was run again after a kill counts once."""
    figures: dict[str, dict[int, float]] = {}
    for line in read_lines(path):
        for name, value, _, step in parse_entries(line, path):
            if math.isfinite(value):
                figures.setdefault(name, {})[step] = value
    return {name: dict(sorted(one.items())) for name, one in figures.items()}


def thinned(figures: Mapping[int, float], every: int) -> dict[int, float]:
    """Each `every`-th point, and the last."""
    steps = list(figures)
    return {step: figures[step] for step in dict.fromkeys([*steps[::every], *steps[-1:]])}


def draw_curves(
    curves: Curves, colour_of: Mapping[int, int], *, dpi: float
) -> tuple[Figure, list[Mark], list[tuple[str, int]]]:
    """A panel a figure, a line a run in the colour of its setting.

    Returns the figure, its marks, and by group of marks the (name, step) that they are at.
    """
    figure, grid = panel_grid(len(curves.figures), height=3.0, dpi=dpi)
    marks: list[Mark] = []
    steps: list[tuple[str, int]] = []
    for axes, (name, of_runs) in zip(grid, curves.figures.items(), strict=True):
        at = sorted({step for one in of_runs.values() for step in one})
        group = {step: len(steps) + place for place, step in enumerate(at)}
        steps += [(name, step) for step in at]
        for index, one in of_runs.items():
            _curve(axes, one, colour_of[index])
            marks += [Mark(axes, step, value, group[step]) for step, value in one.items()]
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("optimiser step")
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
        plain(axes, axis="y")
        _limit(axes, [value for one in of_runs.values() for value in one.values()], share=name not in LOSSES)
    return figure, marks, steps


def _curve(axes: Axes, figures: Mapping[int, float], colour: int) -> None:
    dashes = DASHES[colour // len(LINE_COLOURS) % len(DASHES)]
    style = "solid" if dashes == "none" else (0, tuple(float(part) for part in dashes.split()))
    few = len(figures) <= 12
    axes.plot(
        list(figures), list(figures.values()), color=LINE_COLOURS[colour % len(LINE_COLOURS)], linestyle=style,
        linewidth=1.5, marker="o" if few else "", markersize=4,
    )  # fmt: skip


def _limit(axes: Axes, values: Sequence[float], *, share: bool) -> None:
    if share and min(values) >= 0 and max(values) <= 1:
        axes.set_ylim(0, 1.03)
    elif min(values) >= 0:
        axes.set_ylim(bottom=0)
