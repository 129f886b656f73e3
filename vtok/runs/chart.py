"""Figures of matplotlib as SVG within a page, with what is told of their points under the mouse."""

import io
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from vtok.runs.comparison import SEED, Comparison, numeric, show_metric
from vtok.runs.curves import DASHES, LINE_COLOURS, Curves, draw_curves
from vtok.runs.plot import COLOUR, GRID, INK, LIGHT, MUTED, STYLE, Mark, panels
from vtok.runs.seeds import estimate, settings_of

POINTS_AN_INCH = 72  # what SVG is written in
# The page says what these colours are, in light and in dark.
VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", COLOUR: "mark", LIGHT: "pale"} | {
    colour: f"line{number}" for number, colour in enumerate(LINE_COLOURS)
}
SVG_STYLE = STYLE | {"svg.fonttype": "none", "svg.hashsalt": "vtok", "font.family": "sans-serif"}


@dataclass(frozen=True)
class Chart:
    """svg: the picture, safe to put into a page. marks: [x, y, group] in the picture's units. told: by group, lines to

    show of it, each [text, the number of its colour or None]. legend: (name, number of its colour, dashes).
    """

    svg: Markup
    marks: list[list[float]]
    told: list[list[list[Any]]]
    legend: list[tuple[str, int, str]]


def comparison_chart(comparison: Comparison) -> Chart:
    """The panels of `plot.draw`; of a point are told the runs behind it, their overrides and all figures."""
    with rc_context(SVG_STYLE):
        figure, marks = panels(comparison, dpi=POINTS_AN_INCH)
        svg = to_svg(figure)
    settings = settings_of(comparison)
    told = []
    for setting in settings:
        lines = [setting.label]
        if len(setting.runs) == 1:
            run = comparison.runs[setting.runs[0]]
            lines += [f"run {run.path.name}", " ".join(run.overrides)]
            lines += [f"{name}  {show_metric(run, name)}" for name in comparison.metrics]
        else:
            lines += [_seed_line(comparison, index) for index in setting.runs]
            found = [(name, estimate(comparison, setting, name)) for name in comparison.metrics]
            lines += [f"{name}  {one.text()}" for name, one in found if one is not None]
        told.append([[line, None] for line in lines if line])
    return Chart(svg=svg, marks=placed(figure, marks), told=told, legend=[])


def curves_chart(comparison: Comparison, curves: Curves) -> Chart:
    """A panel a figure over the steps, a line a run; of a step are told the figures of all runs there."""
    settings = settings_of(comparison)
    colour_of = {index: place for place, setting in enumerate(settings) for index in setting.runs}
    with rc_context(SVG_STYLE):
        figure, marks, steps = draw_curves(curves, colour_of, dpi=POINTS_AN_INCH)
        svg = to_svg(figure)
    told = []
    for name, step in steps:
        lines: list[list[Any]] = [[f"{name}, step {step:,}", None]]
        for index, one in curves.figures[name].items():
            if step in one:
                text = f"{one[step]:.4g}  {comparison.label(index)}"
                lines.append([text, colour_of[index] % len(LINE_COLOURS)])
        told.append(lines)
    legend = [
        (setting.label, place % len(LINE_COLOURS), DASHES[place // len(LINE_COLOURS) % len(DASHES)])
        for place, setting in enumerate(settings)
    ]
    return Chart(svg=svg, marks=placed(figure, marks), told=told, legend=legend)


def to_svg(figure: Figure) -> Markup:
    """An `<svg>` of texts and shapes alone, in the page's own colours."""
    written = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(written, format="svg", transparent=True, metadata=nothing)
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :]
    for colour, name in VARIABLES.items():
        svg = svg.replace(f": {colour}", f": var(--{name})")
    return Markup(svg)


def placed(figure: Figure, marks: list[Mark]) -> list[list[float]]:
    """[x, y, group] in the units of the figure's SVG, which has been written."""
    height = figure.get_figheight() * POINTS_AN_INCH
    points = [(mark.axes.transData.transform((mark.x, mark.y)), mark.group) for mark in marks]
    return [[round(float(x), 2), round(height - float(y), 2), group] for (x, y), group in points]


def _seed_line(comparison: Comparison, index: int) -> str:
    run = comparison.runs[index]
    figures = [show_metric(run, name) for name in comparison.metrics[:1] if numeric(run.summary.get(name))]
    return f"run {run.path.name}, seed {comparison.settings[SEED][index]}" + "".join(f": {one}" for one in figures)
