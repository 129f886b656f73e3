"""What probes found, as figures and as a table."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from vtok.common.statistics import student
from vtok.common.tables import table
from vtok.evaluation.accuracy import Tally, figures

LEGEND = """\
guessing: always the commonest answer.
order/told: how often a probe tells a clip that is reversed or shuffled from a true one.
order/distance: how far its tokens move, 1 is as far as to another clip.
reconstruction: squared error over the variance of the frames' features, 1 is as good as always saying the mean."""


@dataclass
class ProbeResult:
    """The findings on one tokeniser.

    Attributes:
        tokens: of a clip, at most.
        clips: (training, held-out) ones.
        tallies: right answers on held-out clips by name; guessing is always saying the commonest answer.
        numbers: other figures by name.
        seconds: for all of it.
    """

    tokens: int
    clips: tuple[int, int]
    tallies: dict[str, Tally] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    def metrics(self) -> dict[str, float]:
        """Flat figures: `probe/attentive/colour` and the like."""
        named = {**figures(self.tallies), **self.numbers}
        return {
            "tokens_per_clip": float(self.tokens),
            "probe_clips/train": float(self.clips[0]),
            "probe_clips/heldout": float(self.clips[1]),
            "seconds": self.seconds,
            **{f"probe/{name}": value for name, value in named.items()},
        }

    def value(self, name: str) -> float | None:
        """A figure of the table: the share of right answers, or a number; None where there is none."""
        tally = self.tallies.get(name)
        return self.numbers.get(name) if tally is None else tally.share


def over_seeds(results: Sequence[ProbeResult]) -> dict[str, float]:
    """`metrics` of one result; of several, which differ by seed alone, the means, with Student's 95 % interval."""
    if len(results) == 1:
        return results[0].metrics()
    told = [result.metrics() for result in results]
    means = {name: fmean(metrics[name] for metrics in told) for name in told[0]}
    for name in (*results[0].tallies, *results[0].numbers):
        ends = {f"probe/{name}_low", f"probe/{name}_high"}
        means = {key: value for key, value in means.items() if key not in ends}
        if (interval := interval_of(results, name)) is not None:
            means |= {f"probe/{name}_low": interval[0], f"probe/{name}_high": interval[1]}
    return {**means, "seeds": float(len(results))}


def values_of(results: Sequence[ProbeResult], name: str) -> list[float]:
    """A figure of each seed that has it."""
    return [value for result in results if (value := result.value(name)) is not None]


def interval_of(results: Sequence[ProbeResult], name: str) -> tuple[float, float] | None:
    """Student's 95 % interval of a figure's mean over seeds, within what a share and an error can be."""
    most = 1.0 if name in results[0].tallies else math.inf
    return student(values_of(results, name), least=0.0, most=most)


def side_by_side(results: Mapping[str, Sequence[ProbeResult]]) -> str:
    """A table with a column for each tokeniser, by its name, of its results with one seed or several."""
    firsts = {name: several[0] for name, several in results.items()}
    rows = dict.fromkeys(name for result in firsts.values() for name in (*result.tallies, *result.numbers))
    lines = [["", "guessing", *results], ["tokens a clip", "", *(str(one.tokens) for one in firsts.values())]]
    for row in rows:
        guessed = next((one.tallies[row] for one in firsts.values() if row in one.tallies), None)
        chance = f"{guessed.chance:.0%}" if guessed is not None and guessed.chance is not None else ""
        lines.append([row, chance, *(cell(each, row) for each in results.values())])
    several = next(iter(results.values()))
    train, heldout = several[0].clips
    how = "accuracy with its 95 % interval" if len(several) == 1 else f"means of {len(several)} seeds, 95 % intervals"
    return f"{table(lines)}\n{heldout} held-out clips, probes of {train} training clips; {how}. {LEGEND}"


def cell(results: Sequence[ProbeResult], name: str) -> str:
    first = results[0]
    if first.value(name) is None:
        return "-"
    if len(results) > 1:
        mean, interval, share = fmean(values_of(results, name)), interval_of(results, name), name in first.tallies
        figure, end = ("{:.1%}", "{:.0%}") if share else ("{:.3f}", "{:.2f}")
        ends = f" [{end}, {end}]".format(*interval) if interval else ""
        return figure.format(mean) + ends
    if name in first.numbers:
        return f"{first.numbers[name]:.3f}"
    tally = first.tallies[name]
    low, high = tally.interval
    return f"{tally.share:.1%} [{low:.0%}, {high:.0%}]"
