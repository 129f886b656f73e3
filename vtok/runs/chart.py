"""matplotlib figures as SVG for a page, with tooltips for their points."""

import io
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from vtok.common.style import LIGHT, LINE_COLOURS, PLOT_STYLE
from vtok.runs.comparison import SEED, Comparison, numeric, show_metric
from vtok.runs.curves import DASHES, Curves, draw_curves
from vtok.runs.plot import COLOUR, COLUMNS_OF_A_PAGE, PALE, Mark, panels
from vtok.runs.seeds import estimate, seed_groups

POINTS_AN_INCH = 72  # the unit of SVG
# CSS variables of the page, which have other values in dark mode.
CSS_VARIABLES = {LIGHT.ink: "ink", LIGHT.muted: "muted", LIGHT.grid: "grid", COLOUR: "mark", PALE: "pale"} | {
    colour: f"line{number}" for number, colour in enumerate(LINE_COLOURS)
}
SVG_STYLE = PLOT_STYLE | {"svg.fonttype": "none", "svg.hashsalt": "vtok", "font.family": "sans-serif"}


@dataclass(frozen=True)
class Chart:
    """A picture with tooltips.

    Attributes:
        svg: the picture, escaped for a page.
        marks: points as [x, y, number of the tooltip], in SVG units.
        tooltips: lines of each tooltip, each [text, index of the line colour or None].
        legend: entries (name, index of the line colour, dashes).
    """

    svg: Markup
    marks: list[list[float]]
    tooltips: list[list[list[Any]]]
    legend: list[tuple[str, int, str]]


def comparison_chart(comparison: Comparison) -> Chart:
    """The panels of `plot.draw`. The tooltip of a point lists its runs, their overrides and all metrics."""
    with rc_context(SVG_STYLE):
        figure, marks = panels(comparison, dpi=POINTS_AN_INCH, columns=COLUMNS_OF_A_PAGE)
        svg = to_svg(figure)
    groups = seed_groups(comparison)
    tooltips = []
    for group in groups:
        lines = [group.label]
        if len(group.runs) == 1:
            run = comparison.runs[group.runs[0]]
            lines += [f"run {comparison.names[group.runs[0]]}", " ".join(run.overrides)]
            lines += [f"{name}  {show_metric(run, name)}" for name in comparison.metrics]
        else:
            lines += [_seed_line(comparison, index) for index in group.runs]
            found = [(name, estimate(comparison, group, name)) for name in comparison.metrics]
            lines += [f"{name}  {one.text()}" for name, one in found if one is not None]
        tooltips.append([[line, None] for line in lines if line])
    return Chart(svg=svg, marks=mark_positions(figure, marks), tooltips=tooltips, legend=[])


def curves_chart(comparison: Comparison, curves: Curves) -> Chart:
    """One panel for each metric over the steps, one line for each run. The tooltip of a step lists all runs."""
    groups = seed_groups(comparison)
    colour_of = {index: place for place, group in enumerate(groups) for index in group.runs}
    with rc_context(SVG_STYLE):
        figure, marks, steps = draw_curves(curves, colour_of, dpi=POINTS_AN_INCH)
        svg = to_svg(figure)
    tooltips = []
    for name, step in steps:
        lines: list[list[Any]] = [[f"{name}, step {step:,}", None]]
        for index, one in curves.metrics[name].items():
            if step in one:
                text = f"{one[step]:.4g}  {comparison.label(index)}"
                lines.append([text, colour_of[index] % len(LINE_COLOURS)])
        tooltips.append(lines)
    legend = [
        (group.label, place % len(LINE_COLOURS), DASHES[place // len(LINE_COLOURS) % len(DASHES)])
        for place, group in enumerate(groups)
    ]
    return Chart(svg=svg, marks=mark_positions(figure, marks), tooltips=tooltips, legend=legend)


def to_svg(figure: Figure) -> Markup:
    """An `<svg>` element without metadata, in the colours of the page."""
    file = io.StringIO()
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(file, format="svg", transparent=True, metadata=no_metadata)
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    for colour, name in CSS_VARIABLES.items():
        svg = svg.replace(f": {colour}", f": var(--{name})")
    return Markup(svg)


def mark_positions(figure: Figure, marks: list[Mark]) -> list[list[float]]:
    """Marks as [x, y, group] in SVG units. The figure must have been drawn before, by `to_svg`."""
    height = figure.get_figheight() * POINTS_AN_INCH
    points = [(mark.axes.transData.transform((mark.x, mark.y)), mark.group) for mark in marks]
    return [[round(float(x), 2), round(height - float(y), 2), group] for (x, y), group in points]


def _seed_line(comparison: Comparison, index: int) -> str:
    run = comparison.runs[index]
    metrics = [show_metric(run, name) for name in comparison.metrics[:1] if numeric(run.summary.get(name))]
    return f"run {comparison.names[index]}, seed {comparison.settings[SEED][index]}" + "".join(
        f": {one}" for one in metrics
    )
