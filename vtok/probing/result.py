"""What probes found, as figures and as a table."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vtok.evaluation.interval import wilson
from vtok.evaluation.tally import Tally, figures

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


def side_by_side(results: Mapping[str, ProbeResult]) -> str:
    """A table with a column for each tokeniser, by its name."""
    rows = dict.fromkeys(name for result in results.values() for name in (*result.tallies, *result.numbers))
    width = max(24, *(len(name) + 2 for name in results))
    lines = [f"{'':<34}{'guessing':>9}" + "".join(f"{name:>{width}}" for name in results)]
    first = next(iter(results.values()))
    lines.append(f"{'tokens a clip':<34}{'':>9}" + "".join(f"{one.tokens:>{width}}" for one in results.values()))
    for row in rows:
        guessed = next((one.tallies[row] for one in results.values() if row in one.tallies), None)
        chance = f"{guessed.guessed / guessed.total:.0%}" if guessed else ""
        lines.append(f"{row:<34}{chance:>9}" + "".join(f"{cell(one, row):>{width}}" for one in results.values()))
    train, heldout = first.clips
    lines.append(
        f"{heldout} held-out clips, probes of {train} training clips; accuracy with its 95 % interval. {LEGEND}"
    )
    return "\n".join(lines)


def cell(result: ProbeResult, name: str) -> str:
    if name in result.numbers:
        return f"{result.numbers[name]:.3f}"
    if name not in result.tallies:
        return "-"
    tally = result.tallies[name]
    low, high = wilson(tally.right, tally.total)
    return f"{tally.right / tally.total:.1%} [{low:.0%}, {high:.0%}]"
