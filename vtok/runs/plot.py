"""Plots of a comparison: one panel for each metric."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import EngFormatter

from vtok.common.errors import UserError
from vtok.common.style import LIGHT, PLOT_STYLE, remove_frame
from vtok.runs.comparison import Comparison, numeric, show_setting
from vtok.runs.saved_run import SavedRun
from vtok.runs.seeds import Estimate, SeedGroup, estimate, is_share, seed_groups, without_seed

# Panels side by side: a file is shown at half its size in a text, a page has the width of the window.
COLUMNS_OF_A_FILE, COLUMNS_OF_A_PAGE = 2, 3
TICKS = 8
LABEL_LETTERS = 48
INCHES_A_LETTER = 0.075
COLOUR = "#1f5fa8"
PALE = "#a9c4e4"
UNITS = {
    "tokens_per_clip": "tokens",
    "seconds_per_step": "seconds",
    "seconds": "seconds",
    "peak_memory_mb": "MB",
    "peak_gpu_memory_mb": "MB",
    "parameters/trained": "parameters",
}


@dataclass(frozen=True)
class Mark:
    """A point of a panel, in data coordinates; the points of one `group` share a tooltip."""

    axes: Axes
    x: float
    y: float
    group: int


def draw(comparison: Comparison, path: Path) -> None:
    """Draw one panel for each metric: a line if the runs differ in one numeric setting, bars otherwise.

    Runs that differ only in the seed are one point or bar, their mean. Intervals are those of `seeds.estimate`.

    Raises:
        UserError: no metric is a number.
    """
    with rc_context(PLOT_STYLE):
        figure, _ = panels(comparison, dpi=130, columns=COLUMNS_OF_A_FILE)
        figure.savefig(path)


def panels(comparison: Comparison, *, dpi: float, columns: int) -> tuple[Figure, list[Mark]]:
    """The figure of `draw`, and its marks. The group of a mark is its index in `seed_groups`."""
    metrics = [name for name in comparison.metrics if any(numeric(run.summary.get(name)) for run in comparison.runs)]
    if not metrics:
        raise UserError(f"metrics=[{','.join(comparison.metrics)}]: none of them is a number. Choose other metrics.")
    groups = seed_groups(comparison)
    keys = list(without_seed(comparison).settings)
    swept = len(keys) == 1 and all(numeric(group.values[0]) for group in groups)
    if swept:
        figure, grid = panel_grid(len(metrics), height=3.4, dpi=dpi, columns=columns)
    else:
        names = INCHES_A_LETTER * max(len(shorten(group.label)) for group in groups)
        height = 1.6 + 0.34 * len(groups)
        figure, grid = panel_grid(len(metrics), height=height, dpi=dpi, columns=columns, names=names)
    marks: list[Mark] = []
    for axes, metric in zip(grid, metrics, strict=False):
        found = [(place, estimate(comparison, group, metric)) for place, group in enumerate(groups)]
        shown = [(place, one) for place, one in found if one is not None]
        if swept:
            shown.sort(key=lambda one: groups[one[0]].values[0])
            marks += _line(axes, keys[0], groups, shown)
        else:
            marks += _bars(axes, groups, shown)
        chance = common_chance(comparison, metric)
        _format_panel(axes, metric, shown, share=is_share(comparison, metric), chance=chance, upright=swept)
    return figure, marks


def chance_level(run: SavedRun, metric: str) -> Any:
    """The value without seeing the video: of the most frequent answer if it is known, else of guessing at random."""
    return run.summary.get(f"{metric}_majority", run.summary.get(f"{metric}_chance"))


def common_chance(comparison: Comparison, metric: str) -> Any:
    """The chance level of a metric; None if it is not the same for all runs."""
    chances = {chance_level(run, metric) for run in comparison.runs}
    return chances.pop() if len(chances) == 1 else None


def panel_grid(count: int, *, height: float, dpi: float, columns: int, names: float = 0.0) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels in rows of `columns`; unused panels are hidden.

    Args:
        count: number of panels.
        height: height of a panel in inches.
        dpi: resolution.
        columns: largest number of panels side by side.
        names: inches for the names of bars, which the panels of a row share; 0: there are no bars.
    """
    columns = min(columns, count)
    rows = -(-count // columns)
    layout = ConstrainedLayoutEngine(h_pad=0.12, w_pad=0.12)
    figure = Figure(figsize=(4.4 * columns + 0.6 + names, height * rows), dpi=dpi, layout=layout)
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False, sharey="row" if names else "none")
    for axes in grid.flat[count:]:
        axes.set_visible(False)
    return figure, list(grid.flat[:count])


def _line(axes: Axes, key: str, groups: Sequence[SeedGroup], shown: list[tuple[int, Estimate]]) -> list[Mark]:
    x = [groups[place].values[0] for place, _ in shown]
    y = [mean.value for _, mean in shown]
    axes.errorbar(x, y, yerr=_errors(shown), color=COLOUR, elinewidth=1, capsize=4, marker="o")
    for at, (_, mean) in zip(x, shown, strict=True):
        if len(mean.per_run) > 1:
            axes.plot([at] * len(mean.per_run), mean.per_run, "o", color=PALE, markersize=4, zorder=3)
    if x[0] > 0 and x[-1] / x[0] >= 50:
        axes.set_xscale("log")
    if len(x) <= TICKS:
        axes.set_xticks(x, [show_setting(value) for value in x])
        axes.minorticks_off()
    axes.set_xlabel(key)
    return [Mark(axes, at, mean.value, place) for at, (place, mean) in zip(x, shown, strict=True)]


def _bars(axes: Axes, groups: Sequence[SeedGroup], shown: list[tuple[int, Estimate]]) -> list[Mark]:
    places = [place for place, _ in shown]
    lengths = [mean.value for _, mean in shown]
    axes.barh(places, lengths, xerr=_errors(shown), color=PALE, ecolor=COLOUR, capsize=3, height=0.7)
    for place, mean in shown:
        if len(mean.per_run) > 1:
            axes.plot(mean.per_run, [place] * len(mean.per_run), "o", color=COLOUR, markersize=3)
    names = [shorten(group.label) for group in groups]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    return [Mark(axes, mean.value, place, place) for place, mean in shown]


def shorten(label: str) -> str:
    """A label of at most LABEL_LETTERS letters, to leave space for its bar. The page and the table show all of it."""
    return label if len(label) <= LABEL_LETTERS else f"{label[: LABEL_LETTERS - 1]}…"


def _format_panel(
    axes: Axes, metric: str, shown: list[tuple[int, Estimate]], *, share: bool, chance: object, upright: bool
) -> None:
    axes.set_title(metric)
    # Accuracies have axes from 0 to 1, so that panels can be compared by eye.
    if share:
        limits = (0.0, 1.03)
    else:
        bottom, top = axes.get_ylim() if upright else axes.get_xlim()
        lowest = min(mean.value for _, mean in shown)
        bottom = bottom if lowest < 0 else 0.0
        limits = (bottom, top + 0.05 * (top - bottom))
    unit = "share of right answers" if share else UNITS.get(metric, "")
    if numeric(chance):
        (axes.axhline if upright else axes.axvline)(
            chance, color=LIGHT.muted, linewidth=1, linestyle=(0, (2, 2)), zorder=1
        )
        unit = f"{unit} (dotted: chance)".lstrip()
    if upright:
        axes.set_ylim(*limits)
        axes.set_ylabel(unit)
    else:
        axes.set_xlim(*limits)
        axes.set_xlabel(unit)
    if limits[1] >= 10_000:
        (axes.yaxis if upright else axes.xaxis).set_major_formatter(EngFormatter(sep=""))
    remove_frame(axes, axis="y" if upright else "x")


def _errors(shown: list[tuple[int, Estimate]]) -> list[list[float]]:
    """The (below, above) distances for matplotlib; NaN if there is no interval."""
    below = [math.nan if mean.low is None else max(0.0, mean.value - mean.low) for _, mean in shown]
    above = [math.nan if mean.high is None else max(0.0, mean.high - mean.value) for _, mean in shown]
    return [below, above]
