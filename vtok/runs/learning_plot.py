"""Plots of learning: every seed over the steps, and the share of seeds that have learnt."""

from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes

from vtok.common.style import LIGHT, LINE_COLOURS, PLOT_STYLE, remove_frame
from vtok.runs.curves import draw_curve, line_style
from vtok.runs.learning import Learning, survival
from vtok.runs.plot import COLUMNS_OF_A_FILE, panel_grid


def draw_learning(learning: Learning, path: Path) -> None:
    """Draw two panels for each metric: its curve for every seed, and the share of seeds that have learnt by group.

    Args:
        learning: times to learn of one metric or more.
        path: file of the picture.
    """
    with rc_context(PLOT_STYLE):
        figure, panels = panel_grid(2 * len(learning.times), height=3.0, dpi=130, columns=COLUMNS_OF_A_FILE)
        for number, metric in enumerate(learning.times):
            left, right = panels[2 * number : 2 * number + 2]
            end = max(step for runs in learning.histories[metric].values() for run in runs for step in run)
            _curves(left, learning, metric, end)
            _learnt(right, learning, metric, end)
        handles = [
            left.plot([], [], color=LINE_COLOURS[place % len(LINE_COLOURS)], linestyle=line_style(place), label=name)[0]
            for place, name in enumerate(learning.names)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
        figure.savefig(path)


def _curves(axes: Axes, learning: Learning, metric: str, end: int) -> None:
    for group, runs in learning.histories[metric].items():
        for run in runs:
            draw_curve(axes, run, group)
    axes.axhline(learning.learnt, color=LIGHT.muted, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
    _format(axes, metric, "share of right answers", end)


def _learnt(axes: Axes, learning: Learning, metric: str, end: int) -> None:
    for group, times in learning.times[metric].items():
        steps, shares = survival(times)
        axes.step(
            [0, *steps, end], [0, *(1 - share for share in shares), 1 - shares[-1]], where="post", linewidth=1.5,
            color=LINE_COLOURS[group % len(LINE_COLOURS)], linestyle=line_style(group),
        )  # fmt: skip
    _format(axes, f"{metric}: learnt", f"share of seeds at {100 * learning.learnt:.0f} % to stay", end)


def _format(axes: Axes, title: str, unit: str, end: int) -> None:
    axes.set_title(title)
    axes.set_xlabel("optimiser step")
    axes.set_ylabel(unit)
    axes.set_xlim(0, 1.02 * end)
    axes.set_ylim(0, 1.03)
    remove_frame(axes, axis="y")
