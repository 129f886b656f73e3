"""Accuracies: counts of right answers, as metrics and as a table."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Literal, Protocol, TypeVar

from vtok.common.statistics import clustered
from vtok.common.tables import table
from vtok.data import Clip

T = TypeVar("T")

# How choices are scored, in the order of the table; see `vtok.evaluation.choice.Chooser`.
Score = Literal["token", "total", "prior"]
SCORES: tuple[Score, ...] = ("token", "total", "prior")


@dataclass
class Accuracy:
    """Counts of right answers to questions.

    Attributes:
        right: number of right answers.
        total: number of questions.
        expected_right: expected number of right answers by random guessing; 0 if unknown.
        clips: (right answers, questions) by clip, for the interval.
        truth_counts: number of questions by true answer.
        choices: choices that all questions share; empty if they differ or are unknown.
        right_by_score: number of right answers by each score, if choices are scored in several ways.
    """

    right: int = 0
    total: int = 0
    expected_right: float = 0.0
    clips: dict[str, tuple[int, int]] = field(default_factory=dict)
    truth_counts: Counter[str] = field(default_factory=Counter)
    choices: frozenset[str] = frozenset()
    right_by_score: Counter[str] = field(default_factory=Counter)

    def add(
        self,
        right: bool,
        chance: float,
        *,
        clip: str,
        truth: str = "",
        choices: Iterable[str] = (),
        right_by_score: Mapping[str, bool] | None = None,
    ) -> None:
        """Count one answer.

        Args:
            right: whether the answer is right.
            chance: probability of a right answer by random guessing; 0 if unknown.
            clip: name of the clip, see `cluster_of`.
            truth: the true answer.
            choices: choices of the question; empty if unknown.
            right_by_score: whether the answer by each score is right.
        """
        clip_right, clip_total = self.clips.get(clip, (0, 0))
        self.clips[clip] = (clip_right + right, clip_total + 1)
        self.choices = frozenset(choices) if self.total == 0 else _same(self.choices, frozenset(choices))
        self.right += right
        self.total += 1
        self.expected_right += chance
        self.truth_counts[truth] += 1
        for score, hit in (right_by_score or {}).items():
            self.right_by_score[score] += hit

    def merge(self, other: "Accuracy") -> None:
        """Add the counts of another accuracy."""
        if other.total == 0:
            return
        self.choices = other.choices if self.total == 0 else _same(self.choices, other.choices)
        self.right += other.right
        self.total += other.total
        self.expected_right += other.expected_right
        for clip, (right, total) in other.clips.items():
            clip_right, clip_total = self.clips.get(clip, (0, 0))
            self.clips[clip] = (clip_right + right, clip_total + total)
        self.truth_counts += other.truth_counts
        self.right_by_score.update(other.right_by_score)

    @property
    def share(self) -> float:
        """The share of right answers."""
        return self.right / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share, over clips."""
        return clustered(self.clips.values())

    @property
    def chance(self) -> float | None:
        """The expected share by random guessing; None if unknown."""
        return self.expected_right / self.total if self.expected_right else None

    @property
    def majority(self) -> float | None:
        """The share for always giving the most frequent answer; None if the questions have different choices."""
        return self.truth_counts.most_common(1)[0][1] / self.total if self.choices else None


def _same(one: frozenset[str], other: frozenset[str]) -> frozenset[str]:
    return one if one == other else frozenset()


def cluster_of(clip: Clip) -> str:
    """The name under which answers that are not independent are counted together, for the interval.

    It is the clip's group, or its range of its file if it has no group.
    """
    return f"{clip.path}@{clip.start}-{clip.end}" if clip.group is None else clip.group


def category_names(category: str, clip: Clip) -> list[str]:
    """Names under which an answer is counted: the category and, in a mixture of data sets, SOURCE/category."""
    return [category, f"{clip.source}/{category}"] if clip.source else [category]


def accuracy_metrics(accuracies: Mapping[str, Accuracy]) -> dict[str, float]:
    """Accuracies as metrics by name.

    Each NAME has NAME_low and NAME_high (95 % interval over clips) and NAME_questions (their number), NAME_chance if
    chance is known, and NAME_majority (always the most frequent answer) if all questions have the same choices. If
    choices were scored in several ways, NAME_by_token, NAME_by_total and NAME_by_prior are the shares by each score.
    """
    numbers: dict[str, float] = {}
    for name, accuracy in accuracies.items():
        low, high = accuracy.interval
        numbers |= {name: accuracy.share, f"{name}_low": low, f"{name}_high": high}
        if accuracy.chance is not None:
            numbers[f"{name}_chance"] = accuracy.chance
        if accuracy.majority is not None:
            numbers[f"{name}_majority"] = accuracy.majority
        numbers[f"{name}_questions"] = float(accuracy.total)
        numbers |= {
            f"{name}_by_{score}": accuracy.right_by_score[score] / accuracy.total
            for score in SCORES
            if score in accuracy.right_by_score
        }
    return numbers


class EvaluationResult(Protocol):
    """What all results have: accuracies by name, the first clips, the number of clips, and the broken ones."""

    accuracies: dict[tuple[str, str], Accuracy]
    examples: list[Any]
    clips: int
    bad: list[tuple[str, str]]


def merge_results(merged: EvaluationResult, parts: Sequence[EvaluationResult], *, examples: int) -> None:
    """Merge the results of processes into an empty result.

    Args:
        merged: the empty result.
        parts: result of each process; process r of n has the clips r, r + n, r + 2n, ...
        examples: largest number of examples to keep, in the order of the clips.
    """
    merged.examples = interleave([part.examples for part in parts])[:examples]
    for part in parts:
        merged.clips += part.clips
        merged.bad += part.bad
        for name, accuracy in part.accuracies.items():
            merged.accuracies[name].merge(accuracy)


def interleave(lists: Sequence[Sequence[T]]) -> list[T]:
    """The elements of lists in turns: the first of each, then the second of each, and so on."""
    nothing = object()
    return [one for turn in zip_longest(*lists, fillvalue=nothing) for one in turn if one is not nothing]  # type: ignore[misc]


def accuracy_table(accuracies: Mapping[str, Accuracy]) -> str:
    """A table of accuracies."""
    ways = [score for score in SCORES if any(score in accuracy.right_by_score for accuracy in accuracies.values())]
    rows = [["", "accuracy", "95 % interval", "chance", "majority", "questions", *(f"by {score}" for score in ways)]]
    for name, accuracy in accuracies.items():
        low, high = accuracy.interval
        baselines = ("" if share is None else f"{share:.0%}" for share in (accuracy.chance, accuracy.majority))
        shares = (
            f"{accuracy.right_by_score[score] / accuracy.total:.1%}" if score in accuracy.right_by_score else ""
            for score in ways
        )
        rows.append(
            [name, f"{accuracy.share:.1%}", f"{low:.0%} to {high:.0%}", *baselines, str(accuracy.total), *shares]
        )
    return table(rows)
