"""A plot of the cost of tokenisers over the length of the clip."""

from collections.abc import Mapping
from pathlib import Path

from vtok.evaluation.cost.measure import Cost
from vtok.evaluation.cost.timing import median_min_max

# Title, attribute of `Cost`, and factor to the unit of the axis.
PANELS = (
    ("tokens a clip", "tokens", 1.0),
    ("tokeniser with its backbone, ms", "encode", 1000.0),
    ("language model reads the clip, ms", "prefill", 1000.0),
)


def draw_costs(costs: Mapping[int, Mapping[str, Cost]], path: Path) -> None:
    """Write a PNG of three panels with a line for each tokeniser.

    Times are medians of the rounds, with a band from the shortest to the longest.

    Args:
        costs: by number of frames, then by tokeniser.
        path: file to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(PANELS), figsize=(13, 4), layout="constrained")
    lengths = sorted(costs)
    for axis, (title, name, factor) in zip(axes, PANELS, strict=True):
        for number, tokeniser in enumerate(costs[lengths[0]]):
            values = [getattr(costs[length][tokeniser], name) for length in lengths]
            spreads = [(value, value, value) if name == "tokens" else median_min_max(value) for value in values]
            median, least, most = ([factor * spread[part] for spread in spreads] for part in range(3))
            axis.plot(lengths, median, marker="os^Dvp*h"[number % 8], color=f"C{number}", label=tokeniser)
            axis.fill_between(lengths, least, most, color=f"C{number}", alpha=0.15, linewidth=0)
        axis.set(title=title, xlabel="frames of the clip", xscale="log", yscale="log")
        axis.set_xticks(lengths, [str(length) for length in lengths])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize="small")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
