"""What tokenisers cost over the length of the clip, drawn."""

from collections.abc import Mapping
from pathlib import Path

from vtok.evaluation.cost.measure import Cost, summed

PANELS = (
    ("tokens a clip", "tokens", 1.0),
    ("tokeniser with its backbone, ms", "encode", 1000.0),
    ("language model reads the clip, ms", "prefill", 1000.0),
)


def draw_costs(costs: Mapping[int, Mapping[str, Cost]], path: Path) -> None:
    """A PNG of three panels, a line for each tokeniser, over clips of so many frames.

    Times are medians, with a band from the least to the most of the rounds.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(PANELS), figsize=(13, 4), layout="constrained")
    lengths = sorted(costs)
    for axis, (title, name, factor) in zip(axes, PANELS, strict=True):
        for number, tokeniser in enumerate(costs[lengths[0]]):
            here = [length for length in lengths if tokeniser in costs[length]]
            values = [getattr(costs[length][tokeniser], name) for length in here]
            spreads = [(value, value, value) if name == "tokens" else summed(value) for value in values]
            median, least, most = ([factor * spread[part] for spread in spreads] for part in range(3))
            axis.plot(here, median, marker="os^Dvp*h"[number % 8], color=f"C{number}", label=tokeniser)
            axis.fill_between(here, least, most, color=f"C{number}", alpha=0.15, linewidth=0)
        axis.set(title=title, xlabel="frames of the clip", xscale="log", yscale="log")
        axis.set_xticks(lengths, [str(length) for length in lengths])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize="small")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
