"""A comparison as a picture."""

import math
from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import EngFormatter

from vtok.errors import UserError
from vtok.tracking.comparison import Comparison, numeric, show_setting
from vtok.tracking.runs import Run

COLUMNS = 3
TICKS = 8
COLOUR = "#1f5fa8"
LIGHT = "#a9c4e4"


def draw(comparison: Comparison, path: Path) -> None:
    """One panel a metric: against the swept value where the one setting that differs is a number, else one bar a run.

    Intervals are drawn where the runs state them. Raises UserError where no metric is a number.
    """
    metrics = [name for name in comparison.metrics if any(numeric(run.summary.get(name)) for run in comparison.runs)]
    if not metrics:
        raise UserError(f"metrics: none of {', '.join(comparison.metrics)} is a number that can be drawn.")
    columns = min(COLUMNS, len(metrics))
    rows = -(-len(metrics) // columns)
    values = next(iter(comparison.settings.values()), [])
    swept = len(comparison.settings) == 1 and all(numeric(value) for value in values)
    height = 3.4 if swept else 1.3 + 0.34 * len(comparison.runs)
    layout = ConstrainedLayoutEngine(h_pad=0.12, w_pad=0.12)
    figure = Figure(figsize=(4.4 * columns + 0.6, height * rows), dpi=130, layout=layout)
    FigureCanvasAgg(figure)
    # Bars share the names of the runs, written once a row.
    panels = figure.subplots(rows, columns, squeeze=False, sharey="none" if swept else "row")
    for index, axes in enumerate(panels.flat):
        if index >= len(metrics):
            axes.set_visible(False)
        elif swept:
            _line(axes, comparison, metrics[index], next(iter(comparison.settings)), values)
        else:
            _bars(axes, comparison, metrics[index])
    figure.savefig(path)


def _line(axes: Axes, comparison: Comparison, metric: str, key: str, values: list[Any]) -> None:
    runs = [run for run in comparison.runs if numeric(run.summary.get(metric))]
    at = {id(run): value for run, value in zip(comparison.runs, values, strict=True)}
    runs.sort(key=lambda run: at[id(run)])
    x = [at[id(run)] for run in runs]
    y = [float(run.summary[metric]) for run in runs]
    axes.errorbar(x, y, yerr=_errors(runs, metric), color=COLOUR, elinewidth=1, capsize=4, marker="o")
    if x[0] > 0 and x[-1] / x[0] >= 50:
        axes.set_xscale("log")
    if len(x) <= TICKS:
        axes.set_xticks(x, [show_setting(value) for value in x])
        axes.minorticks_off()
    axes.set_xlabel(key)
    axes.set_title(metric, fontsize=10)
    _dress(axes, metric, min(y), axis="y")


def _bars(axes: Axes, comparison: Comparison, metric: str) -> None:
    shown = [(place, run) for place, run in enumerate(comparison.runs) if numeric(run.summary.get(metric))]
    places = [place for place, _ in shown]
    runs = [run for _, run in shown]
    lengths = [float(run.summary[metric]) for run in runs]
    axes.barh(places, lengths, xerr=_errors(runs, metric), color=LIGHT, ecolor=COLOUR, capsize=3, height=0.7)
    names = [comparison.label(place) for place in range(len(comparison.runs))]
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_title(metric, fontsize=10)
    _dress(axes, metric, min(lengths), axis="x")


def _dress(axes: Axes, metric: str, lowest: float, axis: Literal["x", "y"]) -> None:
    # Accuracies are shown on their whole range, so that panels can be compared by eye.
    if metric.startswith("alignment/"):
        limits = (0.0, 1.03)
    else:
        bottom, top = axes.get_xlim() if axis == "x" else axes.get_ylim()
        limits = (bottom if lowest < 0 else 0.0, top + 0.05 * (top - bottom))
    if axis == "x":
        axes.set_xlim(*limits)
    else:
        axes.set_ylim(*limits)
    if limits[1] >= 10_000:
        (axes.xaxis if axis == "x" else axes.yaxis).set_major_formatter(EngFormatter(sep=""))
    axes.grid(axis=axis, color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _errors(runs: list[Run], metric: str) -> list[list[float]]:
    """matplotlib's (below, above) distances, nan where a run states no interval."""
    below, above = [], []
    for run in runs:
        value, low, high = (run.summary.get(key) for key in (metric, f"{metric}_low", f"{metric}_high"))
        below.append(max(0.0, value - low) if numeric(value) and numeric(low) else math.nan)
        above.append(max(0.0, high - value) if numeric(value) and numeric(high) else math.nan)
    return [below, above]
