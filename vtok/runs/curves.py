"""Metrics over the steps of training, read from the run folder's metrics.jsonl."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vtok.common.style import LINE_COLOURS, remove_frame
from vtok.data.clip import VALIDATION
from vtok.runs.comparison import Comparison
from vtok.runs.plot import COLUMNS_OF_A_PAGE, Mark, panel_grid
from vtok.runs.saved_run import SavedRun
from vtok.tracking.sender import JOURNAL, parse_entries, read_lines

LOSSES = ("train/loss", "train/under", "train/visLM", "train/dec")
MOST_POINTS = 400
# Styles of the lines after the last colour.
DASHES = ("none", "6 3", "2 2")


@dataclass(frozen=True)
class Curves:
    """Metrics by step.

    Attributes:
        metrics: values as `metrics[name][index][step]`; the index is that of the run in `Comparison.runs`.
        every: stride of the points that are kept in the longest curve; 1: all.
        without_curves: runs without metrics over the steps.
    """

    metrics: dict[str, dict[int, dict[int, float]]]
    every: int
    without_curves: list[SavedRun]


def read_curves(comparison: Comparison) -> Curves:
    """The losses, and the comparison's metrics that have more than one value in a run."""
    journals = [read_journal(run.path / JOURNAL) for run in comparison.runs]
    metrics: dict[str, dict[int, dict[int, float]]] = {}
    every = 1
    # Evaluations during training are on validation clips.
    accuracies = [name for metric in comparison.metrics for name in (metric, f"{VALIDATION}{metric}")]
    for name in (*LOSSES, *accuracies):
        found = {index: one[name] for index, one in enumerate(journals) if len(one.get(name, {})) > 1}
        if found and found not in metrics.values():
            step = max(math.ceil(len(one) / MOST_POINTS) for one in found.values())
            metrics[name] = {index: thin_out(one, step) for index, one in found.items()}
            every = max(every, step)
    without_curves = [run for run, one in zip(comparison.runs, journals, strict=True) if not one]
    return Curves(metrics=metrics, every=every, without_curves=without_curves)


def read_journal(path: Path) -> dict[str, dict[int, float]]:
    """Metrics by name and step from a run's `metrics.jsonl`. For a step that was repeated, the last value counts."""
    metrics: dict[str, dict[int, float]] = {}
    for line in read_lines(path):
        for name, value, _, step in parse_entries(line, path):
            if math.isfinite(value):
                metrics.setdefault(name, {})[step] = value
    return {name: dict(sorted(one.items())) for name, one in metrics.items()}


def thin_out(metrics: Mapping[int, float], every: int) -> dict[int, float]:
    """Every `every`-th point, and the last one."""
    steps = list(metrics)
    return {step: metrics[step] for step in dict.fromkeys([*steps[::every], *steps[-1:]])}


def draw_curves(
    curves: Curves, colour_of: Mapping[int, int], *, dpi: float
) -> tuple[Figure, list[Mark], list[tuple[str, int]]]:
    """One panel for each metric, one line for each run.

    Args:
        curves: the metrics.
        colour_of: index of the line colour by index of the run.
        dpi: resolution of the figure.

    Returns:
        The figure, its marks, and for each group of marks its metric and step.
    """
    figure, grid = panel_grid(len(curves.metrics), height=3.0, dpi=dpi, columns=COLUMNS_OF_A_PAGE)
    marks: list[Mark] = []
    steps: list[tuple[str, int]] = []
    for axes, (name, of_runs) in zip(grid, curves.metrics.items(), strict=True):
        at = sorted({step for one in of_runs.values() for step in one})
        group = {step: len(steps) + place for place, step in enumerate(at)}
        steps += [(name, step) for step in at]
        for index, one in of_runs.items():
            draw_curve(axes, one, colour_of[index])
            marks += [Mark(axes, step, value, group[step]) for step, value in one.items()]
        axes.set_title(name)
        axes.set_xlabel("optimiser step")
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
        remove_frame(axes, axis="y")
        _limit(axes, [value for one in of_runs.values() for value in one.values()], share=name not in LOSSES)
    return figure, marks, steps


def draw_curve(axes: Axes, metrics: Mapping[int, float], colour: int) -> None:
    """Draw values by step as a line of this index of the line colours, with points if there are few."""
    few = len(metrics) <= 12
    axes.plot(
        list(metrics), list(metrics.values()), color=LINE_COLOURS[colour % len(LINE_COLOURS)],
        linestyle=line_style(colour), linewidth=1.5, marker="o" if few else "", markersize=4,
    )  # fmt: skip


def line_style(colour: int) -> Any:
    """matplotlib's style of a line with this index: dashes after the last colour."""
    dashes = DASHES[colour // len(LINE_COLOURS) % len(DASHES)]
    return "solid" if dashes == "none" else (0, tuple(float(part) for part in dashes.split()))


def _limit(axes: Axes, values: Sequence[float], *, share: bool) -> None:
    if share and min(values) >= 0 and max(values) <= 1:
        axes.set_ylim(0, 1.03)
    elif min(values) >= 0:
        axes.set_ylim(bottom=0)
