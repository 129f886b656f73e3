"""A plot of the cost of tokenisers over the length of the clip."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vtok.common.style import LINE_COLOURS, PLOT_STYLE, remove_frame
from vtok.evaluation.cost.measure import Cost
from vtok.evaluation.cost.timing import median_min_max

# Title, attribute of `Cost`, and factor to the unit of the axis.
PANELS = (
    ("tokens a clip", "tokens", 1.0),
    ("tokeniser with its backbone, ms", "encode", 1000.0),
    ("language model reads the clip, ms", "prefill", 1000.0),
)
MARKERS = "os^Dvp*h"


def draw_costs(costs: Mapping[int, Mapping[str, Cost]], path: Path) -> None:
    """Write a PNG of three panels with a line for each tokeniser.

    Times are medians of the rounds, with a band from the shortest to the longest.

    Args:
        costs: by number of frames, then by tokeniser.
        path: file to write.
    """
    lengths = sorted(costs)
    tokenisers = list(costs[lengths[0]])
    with rc_context(PLOT_STYLE):
        figure = Figure(figsize=(13, 4.2), dpi=130, layout="constrained")
        FigureCanvasAgg(figure)
        for axes, (title, name, factor) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
            for number, tokeniser in enumerate(tokenisers):
                values = [getattr(costs[length][tokeniser], name) for length in lengths]
                spreads = [(value, value, value) if name == "tokens" else median_min_max(value) for value in values]
                median, least, most = ([factor * spread[part] for spread in spreads] for part in range(3))
                colour = LINE_COLOURS[number % len(LINE_COLOURS)]
                # Lines of equal values lie on each other: earlier ones have larger, hollow marks and stay visible.
                axes.plot(
                    lengths, median, color=colour, label=tokeniser, marker=MARKERS[number % len(MARKERS)],
                    markersize=4.5 + 1.5 * (len(tokenisers) - number), markerfacecolor="none", markeredgewidth=1.5,
                )  # fmt: skip
                axes.fill_between(lengths, least, most, color=colour, alpha=0.15, linewidth=0)
            axes.set(title=title, xlabel="frames of the clip", xscale="log", yscale="log")
            axes.set_xticks(lengths, [str(length) for length in lengths])
            axes.minorticks_off()
            # The default labels of such an axis are formulas, which PLOT_STYLE shows as plain text.
            axes.yaxis.set_major_formatter("{x:,.10g}")
            remove_frame(axes, axis="both")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(tokenisers), fontsize=9)
        figure.savefig(path)
