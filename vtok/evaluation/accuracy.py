"""Right answers counted, and the counts as figures and as a table."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Literal, Protocol, TypeVar

from vtok.common.statistics import clustered
from vtok.common.tables import table
from vtok.data import Clip

T = TypeVar("T")

# Ways of scoring choices, in the order of the table, see `vtok.evaluation.choice.Chooser`.
Score = Literal["token", "total", "prior"]
SCORES: tuple[Score, ...] = ("token", "total", "prior")


@dataclass
class Tally:
    """Right answers to questions.

    Attributes:
        right: right answers.
        total: questions.
        guessed: the right answers that guessing would give (0 where that is not known).
        clips: (right answers, questions) of each clip, for the interval.
        truths: how often each answer is the true one.
        offered: the choices that every question has; empty where they differ or are not known.
        scored: right answers by each way of scoring choices, where there are several.
    """

    right: int = 0
    total: int = 0
    guessed: float = 0.0
    clips: dict[str, tuple[int, int]] = field(default_factory=dict)
    truths: Counter[str] = field(default_factory=Counter)
    offered: frozenset[str] = frozenset()
    scored: Counter[str] = field(default_factory=Counter)

    def add(
        self,
        right: bool,
        chance: float,
        *,
        clip: str,
        truth: str = "",
        choices: Iterable[str] = (),
        scored: Mapping[str, bool] | None = None,
    ) -> None:
        """Count one answer.

        Args:
            right: whether it is.
            chance: the share of guesses that are right, 0 where it is not known.
            clip: what it is about, see `cluster_of`.
            truth: the right answer.
            choices: what could be answered; none where that is not known.
            scored: whether the answer by each way of scoring choices is right.
        """
        had, asked = self.clips.get(clip, (0, 0))
        self.clips[clip] = (had + right, asked + 1)
        self.offered = frozenset(choices) if self.total == 0 else _same(self.offered, frozenset(choices))
        self.right += right
        self.total += 1
        self.guessed += chance
        self.truths[truth] += 1
        for score, hit in (scored or {}).items():
            self.scored[score] += hit

    def join(self, other: "Tally") -> None:
        """Count what another one has counted."""
        if other.total == 0:
            return
        self.offered = other.offered if self.total == 0 else _same(self.offered, other.offered)
        self.right += other.right
        self.total += other.total
        self.guessed += other.guessed
        for clip, (right, asked) in other.clips.items():
            had, before = self.clips.get(clip, (0, 0))
            self.clips[clip] = (had + right, before + asked)
        self.truths += other.truths
        self.scored.update(other.scored)

    @property
    def share(self) -> float:
        """Of right answers."""
        return self.right / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share, over clips."""
        return clustered(self.clips.values())

    @property
    def chance(self) -> float | None:
        """The share that guessing gives; None where that is not known."""
        return self.guessed / self.total if self.guessed else None

    @property
    def majority(self) -> float | None:
        """The share that always giving the commonest answer gets; None where questions have different choices."""
        return self.truths.most_common(1)[0][1] / self.total if self.offered else None


def _same(one: frozenset[str], other: frozenset[str]) -> frozenset[str]:
    return one if one == other else frozenset()


def cluster_of(clip: Clip) -> str:
    """What answers about a clip are counted together under: its seconds of its file, whoever asks and however often."""
    return f"{clip.path}@{clip.start}-{clip.end}"


def names_of(category: str, clip: Clip) -> list[str]:
    """What an answer about a clip is counted under: the category, and that of its source in a mixture of data sets."""
    return [category, f"{clip.source}/{category}"] if clip.source else [category]


def figures(tallies: Mapping[str, Tally]) -> dict[str, float]:
    """The share of right answers by name.

    Beside each there are `_low` and `_high` (95 %, over clips), `_chance` where it is known, `_majority` (always the
    commonest answer) where all questions have the same choices, `_questions`, and where choices were scored in several
    ways the share by each: `_by_total`, `_by_token`, `_by_prior`.
    """
    numbers: dict[str, float] = {}
    for name, tally in tallies.items():
        low, high = tally.interval
        numbers |= {name: tally.share, f"{name}_low": low, f"{name}_high": high}
        if tally.chance is not None:
            numbers[f"{name}_chance"] = tally.chance
        if tally.majority is not None:
            numbers[f"{name}_majority"] = tally.majority
        numbers[f"{name}_questions"] = float(tally.total)
        numbers |= {
            f"{name}_by_{score}": tally.scored[score] / tally.total for score in SCORES if score in tally.scored
        }
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


def accuracy_table(tallies: Mapping[str, Tally]) -> str:
    """The figures for a person."""
    ways = [score for score in SCORES if any(score in tally.scored for tally in tallies.values())]
    rows = [["", "accuracy", "95 % interval", "chance", "majority", "questions", *(f"by {score}" for score in ways)]]
    for name, tally in tallies.items():
        low, high = tally.interval
        beside = ("" if share is None else f"{share:.0%}" for share in (tally.chance, tally.majority))
        shares = (f"{tally.scored[score] / tally.total:.1%}" if score in tally.scored else "" for score in ways)
        rows.append([name, f"{tally.share:.1%}", f"{low:.0%} to {high:.0%}", *beside, str(tally.total), *shares])
    return table(rows)
