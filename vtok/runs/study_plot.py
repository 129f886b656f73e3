"""Pictures of a study, with a row for each method: its accuracy, and the learning curve of each of its seeds."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from vtok.common.style import LIGHT, PLOT_STYLE, remove_frame
from vtok.runs.comparison import Comparison, numeric
from vtok.runs.learning import Learning
from vtok.runs.plot import COLOUR, INCHES_A_LETTER, PALE, common_chance
from vtok.runs.seeds import Estimate, estimate, is_share, seed_groups

DPI = 130
DOTTED = (0, (2, 2))
BEHIND = "#b4bac1"
# Inches of a panel with all methods, and of a panel with the curves of one.
ROW, COLUMN = 0.3, 2.1
CURVES_HEIGHT = 0.9


def draw_accuracy(comparison: Comparison, path: Path) -> None:
    """Draw a panel for each metric: the mean of each method with its interval, and its seeds as pale points.

    The method with the highest mean over the metrics is at the top.
    """
    groups, order, metrics = seed_groups(comparison), by_mean(comparison), comparison.metrics
    names = [str(group.values[0]) for group in groups]
    with rc_context(PLOT_STYLE):
        figure = _figure(len(metrics) * COLUMN, 0.8 + ROW * len(order), names=names)
        grid = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        for axes, metric in zip(grid, metrics, strict=True):
            for place, group in enumerate(order):
                if (found := estimate(comparison, groups[group], metric)) is not None:
                    _point(axes, place, found)
            if numeric(chance := common_chance(comparison, metric)):
                axes.axvline(chance, color=LIGHT.muted, linewidth=1, linestyle=DOTTED, zorder=1)
            axes.set_title(_short(metric))
            if is_share(comparison, metric):
                axes.set_xlim(0, 1.03)
                axes.set_xticks([0, 0.5, 1])
            remove_frame(axes, axis="x")
        grid[0].set_yticks(range(len(order)), [names[group] for group in order])
        grid[0].set_ylim(len(order) - 0.4, -0.6)
        what = "share of right answers" if all(is_share(comparison, one) for one in metrics) else "mean of the seeds"
        figure.supxlabel(f"{what} (dotted: chance)", fontsize=9, color=LIGHT.muted)
        figure.savefig(path)


def draw_seed_curves(comparison: Comparison, learning: Learning, path: Path, *, baseline: int | None) -> None:
    """Draw a panel for each method and metric: the curve of each seed, in front of those of the baseline.

    Args:
        comparison: runs that differ in the method and the seed.
        learning: their times to learn, of one metric or more.
        path: file of the picture.
        baseline: index of the baseline's group; None: there is none.
    """
    order, metrics = by_mean(comparison), list(learning.histories)
    names = [str(group.values[0]) for group in seed_groups(comparison)]
    with rc_context(PLOT_STYLE):
        height = 0.9 + CURVES_HEIGHT * len(order)
        figure = _figure(len(metrics) * COLUMN, height, names=names)
        grid = figure.subplots(len(order), len(metrics), sharex=True, sharey=True, squeeze=False)
        for row, group in zip(grid, order, strict=True):
            row[0].set_ylabel(names[group], rotation=0, ha="right", va="center", color=LIGHT.ink)
            for axes, metric in zip(row, metrics, strict=True):
                curves = learning.histories[metric]
                if baseline is not None and baseline != group:
                    _lines(axes, curves.get(baseline, []), colour=BEHIND, width=1.0)
                _lines(axes, curves.get(group, []), colour=COLOUR, width=1.3)
                axes.axhline(learning.learnt, color=LIGHT.muted, linewidth=1, linestyle=DOTTED, zorder=1)
                remove_frame(axes, axis="y")
        for axes, metric in zip(grid[0], metrics, strict=True):
            axes.set_title(_short(metric))
        grid[0][0].set_ylim(0, 1.03)
        grid[0][0].set_xlim(left=0)
        behind = "" if baseline is None else f"; grey: {names[baseline]}"
        text = f"share of right answers by optimiser step, every seed (dotted: {learning.learnt:g}{behind})"
        figure.supxlabel(text, fontsize=9, color=LIGHT.muted)
        figure.savefig(path)


def by_mean(comparison: Comparison) -> list[int]:
    """Indices of the groups of seeds, by the mean of their metrics, the highest first."""
    summaries = [[comparison.runs[run].summary for run in group.runs] for group in seed_groups(comparison)]
    found = [
        [value for one in each for name in comparison.metrics if numeric(value := one.get(name))] for each in summaries
    ]
    return sorted(range(len(found)), key=lambda place: -fmean(found[place] or [0.0]))


def _figure(width: float, height: float, *, names: Sequence[str]) -> Figure:
    """A figure with `width` inches of panels, beside names of rows."""
    letters = max(len(name) for name in names)
    layout = ConstrainedLayoutEngine(h_pad=0.06, w_pad=0.06)
    figure = Figure(figsize=(width + 0.3 + INCHES_A_LETTER * letters, height), dpi=DPI, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _point(axes: Axes, place: int, found: Estimate) -> None:
    axes.plot(found.per_run, [place] * len(found.per_run), "o", color=PALE, markersize=5, zorder=2)
    if found.low is not None and found.high is not None:
        axes.plot([found.low, found.high], [place, place], color=COLOUR, linewidth=1.5, zorder=3)
    axes.plot([found.value], [place], "o", color=COLOUR, markersize=5, zorder=4)


def _lines(axes: Axes, curves: Sequence[dict[int, float]], *, colour: str, width: float) -> None:
    for curve in curves:
        axes.plot(list(curve), list(curve.values()), color=colour, linewidth=width)


def _short(metric: str) -> str:
    """The last part of a metric's name."""
    return metric.rpartition("/")[2]
