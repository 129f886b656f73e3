"""Right answers counted, and the counts as figures and as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Protocol, TypeVar

from vtok.data import Clip
from vtok.evaluation.interval import wilson

T = TypeVar("T")


@dataclass
class Tally:
    """Right answers, questions, and the right answers that guessing would give (0 where that is not known)."""

    right: int = 0
    total: int = 0
    guessed: float = 0.0

    def add(self, right: bool, chance: float) -> None:
        """Count one answer; `chance` is the share of guesses that are right, 0 where it is not known."""
        self.right += right
        self.total += 1
        self.guessed += chance

    def join(self, other: "Tally") -> None:
        """Count what another one has counted."""
        self.right += other.right
        self.total += other.total
        self.guessed += other.guessed


def names_of(category: str, clip: Clip) -> list[str]:
    """What an answer about a clip is counted under: the category, and that of its source in a mixture of data sets."""
    return [category, f"{clip.source}/{category}"] if clip.source else [category]


def figures(tallies: Mapping[str, Tally]) -> dict[str, float]:
    """The share of right answers by name.

    Beside each there are `_low` and `_high` (95 %), `_chance` where it is known, and `_questions`.
    """
    numbers: dict[str, float] = {}
    for name, tally in tallies.items():
        low, high = wilson(tally.right, tally.total)
        numbers |= {name: tally.right / tally.total, f"{name}_low": low, f"{name}_high": high}
        if tally.guessed:
            numbers[f"{name}_chance"] = tally.guessed / tally.total
        numbers[f"{name}_questions"] = float(tally.total)
    return numbers


class Findings(Protocol):
    """What evaluations have in common: tallies by name, the first clips, how many clips there were, broken ones."""

    tallies: dict[tuple[str, str], Tally]
    examples: list[Any]
    clips: int
    bad: list[tuple[str, str]]


def join_findings(whole: Findings, parts: Sequence[Findings], *, examples: int) -> None:
    """Put into an empty result what processes found that took every n-th clip, so many of the examples."""
    whole.examples = in_turns([part.examples for part in parts])[:examples]
    for part in parts:
        whole.clips += part.clips
        whole.bad += part.bad
        for name, tally in part.tallies.items():
            whole.tallies[name].join(tally)


def in_turns(lists: Sequence[Sequence[T]]) -> list[T]:
    """One of each list, again and again: the order of what was dealt out to them."""
    nothing = object()
    return [one for turn in zip_longest(*lists, fillvalue=nothing) for one in turn if one is not nothing]  # type: ignore[misc]


def table(tallies: Mapping[str, Tally]) -> str:
    """The figures for a person."""
    width = max(33, *(len(name) + 2 for name in tallies)) if tallies else 33
    rows = [f"{'':<{width}}{'accuracy':>9}   {'95 % interval':<14}{'chance':>7}{'questions':>11}"]
    for name, tally in tallies.items():
        low, high = wilson(tally.right, tally.total)
        chance = f"{tally.guessed / tally.total:.0%}" if tally.guessed else ""
        interval = f"{low:.0%} to {high:.0%}"
        rows.append(f"{name:<{width}}{tally.right / tally.total:>9.1%}   {interval:<14}{chance:>7}{tally.total:>11}")
    return "\n".join(rows)
