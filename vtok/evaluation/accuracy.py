"""Accuracies: shares of right answers, as metrics and as a table."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Protocol, TypeVar

from vtok.common.statistics import clustered
from vtok.common.tables import table
from vtok.data import Clip
from vtok.evaluation.answers import SCORES, Answer, Score
from vtok.runs.answered import PREFIXES

T = TypeVar("T")


@dataclass(frozen=True)
class Accuracy:
    """The share of right answers.

    Attributes:
        answers: one or more answers of one kind.
    """

    answers: Sequence[Answer]

    @property
    def share(self) -> float:
        """The share of right answers."""
        return sum(one.right for one in self.answers) / len(self.answers)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share, over groups of clips."""
        rights: dict[tuple[str, str], list[bool]] = {}
        for one in self.answers:
            rights.setdefault((one.source, one.group), []).append(one.right)
        return clustered([(sum(each), len(each)) for each in rights.values()])

    @property
    def chance(self) -> float | None:
        """The expected share without the video, by guessing at random; None if unknown.

        For yes-or-no questions it is that of always giving the more frequent answer, if that is more.
        """
        chance = sum(one.chance for one in self.answers) / len(self.answers)
        if self.majority is not None and all(one.kind == "yes_no" for one in self.answers):
            chance = max(chance, self.majority)
        return chance or None

    @property
    def majority(self) -> float | None:
        """The share for always giving the most frequent answer; None if the questions have different choices."""
        if not self.answers[0].choices or len({frozenset(one.choices) for one in self.answers}) > 1:
            return None
        return Counter(one.truth for one in self.answers).most_common(1)[0][1] / len(self.answers)

    def share_by(self, score: Score) -> float | None:
        """The share of right answers by a score; None if the answers were not chosen by likelihoods."""
        if not self.answers[0].choices or not getattr(self.answers[0], score):
            return None
        return sum(one.by_score(score) == one.truth for one in self.answers) / len(self.answers)


def accuracies_of(answers: Iterable[Answer]) -> dict[str, Accuracy]:
    """Accuracies by name, such as `alignment/colour`, and `alignment/SOURCE/colour` for a mixture of data sets."""
    found: dict[tuple[str, str], list[Answer]] = {}
    for one in answers:
        for name in (one.category, f"{one.source}/{one.category}") if one.source else (one.category,):
            found.setdefault((one.kind, name), []).append(one)
    kinds = list(PREFIXES)
    order = sorted(found, key=lambda name: (kinds.index(name[0]), "/" in name[1], name[1]))
    return {f"{PREFIXES[kind]}/{name}": Accuracy(found[kind, name]) for kind, name in order}


def accuracy_metrics(accuracies: Mapping[str, Accuracy]) -> dict[str, float]:
    """Accuracies as metrics by name.

    Each NAME has NAME_low and NAME_high (95 % interval over clips) and NAME_questions (their number), NAME_chance if
    chance is known, and NAME_majority (always the most frequent answer) if all questions have the same choices. If
    choices were scored, NAME_by_token, NAME_by_total and NAME_by_prior are the shares by each score.
    """
    numbers: dict[str, float] = {}
    for name, accuracy in accuracies.items():
        low, high = accuracy.interval
        optional = {"chance": accuracy.chance, "majority": accuracy.majority}
        optional |= {f"by_{score}": accuracy.share_by(score) for score in SCORES}
        numbers |= {name: accuracy.share, f"{name}_low": low, f"{name}_high": high}
        numbers[f"{name}_questions"] = float(len(accuracy.answers))
        numbers |= {f"{name}_{suffix}": value for suffix, value in optional.items() if value is not None}
    return numbers


class EvaluationResult(Protocol):
    """What all results have: answers, the first clips, the number of clips, and the broken ones."""

    answers: list[Answer]
    examples: list[Any]
    clips: int
    bad: list[tuple[str, str]]


def merge_results(
    merged: EvaluationResult, parts: Sequence[EvaluationResult], clips: Sequence[Clip], *, examples: int
) -> None:
    """Merge the results of processes into an empty result.

    Args:
        merged: the empty result.
        parts: result of each process; process r of n has the clips r, r + n, r + 2n, ...
        clips: all clips, in the order that the answers about them will have.
        examples: largest number of examples to keep, in the order of the clips.
    """
    merged.examples = interleave([part.examples for part in parts])[:examples]
    for part in parts:
        merged.clips += part.clips
        merged.bad += part.bad
    places = {clip.id: place for place, clip in enumerate(clips)}
    merged.answers = sorted((one for part in parts for one in part.answers), key=lambda one: places[one.clip])


def interleave(lists: Sequence[Sequence[T]]) -> list[T]:
    """The elements of lists in turns: the first of each, then the second of each, and so on."""
    nothing = object()
    return [one for turn in zip_longest(*lists, fillvalue=nothing) for one in turn if one is not nothing]  # type: ignore[misc]


def accuracy_table(accuracies: Mapping[str, Accuracy]) -> str:
    """A table of accuracies."""
    ways = [score for score in SCORES if any(one.share_by(score) is not None for one in accuracies.values())]
    rows = [["", "accuracy", "95 % interval", "chance", "majority", "questions", *(f"by {score}" for score in ways)]]
    for name, accuracy in accuracies.items():
        low, high = accuracy.interval
        baselines = ("" if share is None else f"{share:.0%}" for share in (accuracy.chance, accuracy.majority))
        shares = ("" if (share := accuracy.share_by(score)) is None else f"{share:.1%}" for score in ways)
        number = str(len(accuracy.answers))
        rows.append([name, f"{accuracy.share:.1%}", f"{low:.0%} to {high:.0%}", *baselines, number, *shares])
    return table(rows)
