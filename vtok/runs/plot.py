"""A comparison as a picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import EngFormatter

from vtok.common.errors import UserError
from vtok.runs.comparison import Comparison, numeric, show_setting
from vtok.runs.saved_run import Run
from vtok.runs.seeds import Estimate, Setting, estimate, is_share, settings_of, without_seed

COLUMNS = 3
TICKS = 8
LABEL_LETTERS = 48
INCHES_A_LETTER = 0.075
INK, MUTED, GRID = "#1b1f24", "#6a737e", "#dddfe2"
COLOUR = "#1f5fa8"
LIGHT = "#a9c4e4"
# A name from a config may hold dollar signs, which are no formulas.
STYLE: dict[Any, Any] = {
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.labelsize": 9,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
}
UNITS = {
    "tokens_per_clip": "tokens",
    "seconds_per_step": "seconds",
    "seconds": "seconds",
    "peak_memory_mb": "MB",
    "parameters/trained": "parameters",
}


@dataclass(frozen=True)
class Mark:
    """A point of a panel, in the panel's units; points of one `group` belong together."""

    axes: Axes
    x: float
    y: float
    group: int


def draw(comparison: Comparison, path: Path) -> None:
    """One panel a metric: against the swept value where the one setting that differs is a number, else one bar each.

    Runs that differ by their seed alone are one point or bar, their mean. Intervals are those of `seeds.estimate`.
    Raises UserError where no metric is a number.
    """
    with rc_context(STYLE):
        figure, _ = panels(comparison, dpi=130)
        figure.savefig(path)


def panels(comparison: Comparison, *, dpi: float) -> tuple[Figure, list[Mark]]:
    """The figure of `draw`, and its marks; a mark's group is the place of its setting in `settings_of`."""
    metrics = [name for name in comparison.metrics if any(numeric(run.summary.get(name)) for run in comparison.runs)]
    if not metrics:
        raise UserError(f"metrics: none of {', '.join(comparison.metrics)} is a number that can be drawn.")
    settings = settings_of(comparison)
    keys = list(without_seed(comparison).settings)
    swept = len(keys) == 1 and all(numeric(setting.values[0]) for setting in settings)
    if swept:
        figure, grid = panel_grid(len(metrics), height=3.4, dpi=dpi)
    else:
        names = INCHES_A_LETTER * max(len(short(setting.label)) for setting in settings)
        figure, grid = panel_grid(len(metrics), height=1.6 + 0.34 * len(settings), dpi=dpi, names=names)
    marks: list[Mark] = []
    for axes, metric in zip(grid, metrics, strict=False):
        found = [(place, estimate(comparison, setting, metric)) for place, setting in enumerate(settings)]
        shown = [(place, one) for place, one in found if one is not None]
        if swept:
            shown.sort(key=lambda one: settings[one[0]].values[0])
            marks += _line(axes, keys[0], settings, shown)
        else:
            marks += _bars(axes, settings, shown)
        chances = {guessed(run, metric) for run in comparison.runs}
        chance = chances.pop() if len(chances) == 1 else None
        _dress(axes, metric, shown, share=is_share(comparison, metric), chance=chance, upright=swept)
    return figure, marks


def guessed(run: Run, metric: str) -> Any:
    """What a metric is without looking: by always giving the commonest answer where that is known, else by guessing."""
    return run.summary.get(f"{metric}_majority", run.summary.get(f"{metric}_chance"))


def panel_grid(count: int, *, height: float, dpi: float, names: float = 0.0) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels (of `height` inches), COLUMNS a row, and what is left over hidden.

    names: inches for the names of bars, which the panels of a row share; 0 where there are none.
    """
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    layout = ConstrainedLayoutEngine(h_pad=0.12, w_pad=0.12)
    figure = Figure(figsize=(4.4 * columns + 0.6 + names, height * rows), dpi=dpi, layout=layout)
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False, sharey="row" if names else "none")
    for axes in grid.flat[count:]:
        axes.set_visible(False)
    return figure, list(grid.flat[:count])


def _line(axes: Axes, key: str, settings: Sequence[Setting], shown: list[tuple[int, Estimate]]) -> list[Mark]:
    x = [settings[place].values[0] for place, _ in shown]
    y = [figure.value for _, figure in shown]
    axes.errorbar(x, y, yerr=_errors(shown), color=COLOUR, elinewidth=1, capsize=4, marker="o")
    for at, (_, figure) in zip(x, shown, strict=True):
        if len(figure.single) > 1:
            axes.plot([at] * len(figure.single), figure.single, "o", color=LIGHT, markersize=4, zorder=3)
    if x[0] > 0 and x[-1] / x[0] >= 50:
        axes.set_xscale("log")
    if len(x) <= TICKS:
        axes.set_xticks(x, [show_setting(value) for value in x])
        axes.minorticks_off()
    axes.set_xlabel(key)
    return [Mark(axes, at, figure.value, place) for at, (place, figure) in zip(x, shown, strict=True)]


def _bars(axes: Axes, settings: Sequence[Setting], shown: list[tuple[int, Estimate]]) -> list[Mark]:
    places = [place for place, _ in shown]
    lengths = [figure.value for _, figure in shown]
    axes.barh(places, lengths, xerr=_errors(shown), color=LIGHT, ecolor=COLOUR, capsize=3, height=0.7)
    for place, figure in shown:
        if len(figure.single) > 1:
            axes.plot(figure.single, [place] * len(figure.single), "o", color=COLOUR, markersize=3)
    names = [short(setting.label) for setting in settings]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    return [Mark(axes, figure.value, place, place) for place, figure in shown]


def short(label: str) -> str:
    """A label that leaves room for its bar; the page and the table have the whole of it."""
    return label if len(label) <= LABEL_LETTERS else f"{label[: LABEL_LETTERS - 1]}…"


def _dress(
    axes: Axes, metric: str, shown: list[tuple[int, Estimate]], *, share: bool, chance: object, upright: bool
) -> None:
    axes.set_title(metric, fontsize=10)
    # Accuracies are shown on their whole range, so that panels can be compared by eye.
    if share:
        limits = (0.0, 1.03)
    else:
        bottom, top = axes.get_ylim() if upright else axes.get_xlim()
        lowest = min(figure.value for _, figure in shown)
        bottom = bottom if lowest < 0 else 0.0
        limits = (bottom, top + 0.05 * (top - bottom))
    unit = "share of right answers" if share else UNITS.get(metric, "")
    if numeric(chance):
        (axes.axhline if upright else axes.axvline)(chance, color=MUTED, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
        unit = f"{unit} (dotted: chance)".lstrip()
    if upright:
        axes.set_ylim(*limits)
        axes.set_ylabel(unit)
    else:
        axes.set_xlim(*limits)
        axes.set_xlabel(unit)
    if limits[1] >= 10_000:
        (axes.yaxis if upright else axes.xaxis).set_major_formatter(EngFormatter(sep=""))
    plain(axes, axis="y" if upright else "x")


def plain(axes: Axes, axis: Literal["x", "y"]) -> None:
    """A light grid along the values, and no frame."""
    axes.grid(axis=axis, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _errors(shown: list[tuple[int, Estimate]]) -> list[list[float]]:
    """matplotlib's (below, above) distances, nan where there is no interval."""
    below = [math.nan if figure.low is None else max(0.0, figure.value - figure.low) for _, figure in shown]
    above = [math.nan if figure.high is None else max(0.0, figure.high - figure.value) for _, figure in shown]
    return [below, above]
