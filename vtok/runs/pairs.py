"""Differences between groups of runs, on the questions that both were asked."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from vtok.common.differences import LEVEL, Difference, paired_difference, probability_of_improvement, seeds_to_separate
from vtok.common.errors import UserError
from vtok.common.statistics import holm
from vtok.runs.answered import ANSWERS, Right, common_answers
from vtok.runs.comparison import MISSING, SEED, Comparison, show_setting
from vtok.runs.seeds import SeedGroup, seed_groups

# More groups are compared with a baseline only, because every further pair makes the correction stricter.
MOST_GROUPS_IN_ALL_PAIRS = 4
# The difference in points for which the number of seeds is given.
PLANNED_POINTS = 5


@dataclass(frozen=True)
class Pair:
    """The difference of two groups in one metric.

    Attributes:
        metric: name of the metric.
        first: name of the first group.
        second: name of the second group, whose share is subtracted.
        difference: the difference.
        adjusted: p-value by Holm's correction over all pairs and metrics.
        improvement: probability that a seed of the first group is better than one of the second; None with one each.
        left_out: number of questions that only some of the runs were asked.
    """

    metric: str
    first: str
    second: str
    difference: Difference
    adjusted: float
    improvement: float | None
    left_out: int

    @property
    def shown(self) -> bool:
        """Whether the difference is shown: by the test, and by an interval without 0, which is found in another way."""
        return self.adjusted <= LEVEL and not self.difference.low <= 0 <= self.difference.high


@dataclass(frozen=True)
class Pairs:
    """All differences of a comparison.

    Attributes:
        tested: the differences.
        untested: sentences that say which runs are not compared, and why.
    """

    tested: list[Pair]
    untested: list[str]

    @property
    def level(self) -> float:
        """The level at which any of the tests shows a difference by Holm's correction."""
        return LEVEL / max(1, len(self.tested))

    def rows(self) -> list[list[str]]:
        """A header, and a row for each difference; empty if there are none."""
        if not self.tested:
            return []
        header = ["metric", "group", "minus", "points", "p", "P(better)", "could show", "questions", "seeds"]
        return [header, *(self._row(pair) for pair in self.tested)]

    def sentences(self) -> list[str]:
        """What is shown and what is not, first what is shown; then what holds for all."""
        shown = [_shown(pair) for pair in self.tested if pair.shown]
        hidden = [_not_shown(pair, self.level) for pair in self.tested if not pair.shown]
        notes = []
        if any(max(pair.difference.seeds) == 1 for pair in self.tested):
            notes.append("One seed each: a difference is between these two models. Other seeds may differ.")
        few = [pair.difference.least_p for pair in self.tested if pair.difference.least_p > self.level]
        if few:
            notes.append(
                f"{len(few)} of {len(self.tested)} comparisons have too few seeds to show anything, however large the "
                f"difference. Use {seeds_to_separate(self.level)} seeds in each group."
            )
        partly = {pair.metric: pair.left_out for pair in self.tested if pair.left_out}
        notes += [
            f"{metric}: {count} questions that only some of the runs were asked are left out."
            for metric, count in partly.items()
        ]
        return [*shown, *hidden, *notes]

    def text(self) -> str:
        """How the table is to be read."""
        return (
            f"differences in points on common questions, with 95 % intervals; p by Holm's correction over "
            f"{len(self.tested)} comparisons; could show: what is shown with a probability of 80 %"
        )

    def write_csv(self, path: Path) -> None:
        """Write the differences in full precision, as shares."""
        names = "metric group minus difference low high p p_holm improvement detectable questions clusters left_out"
        with path.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*names.split(), "group_seeds", "minus_seeds", "paired_seeds"])
            for pair in self.tested:
                one = pair.difference
                improvement = "" if pair.improvement is None else pair.improvement
                detectable = one.detectable(level=self.level)
                writer.writerow([
                    pair.metric, pair.first, pair.second, one.value, one.low, one.high, one.p, pair.adjusted,
                    improvement, "" if detectable is None else detectable, one.questions, one.clusters, pair.left_out,
                    *one.seeds, one.paired_seeds,
                ])  # fmt: skip

    def _row(self, pair: Pair) -> list[str]:
        one = pair.difference
        detectable = one.detectable(level=self.level)
        return [
            pair.metric,
            pair.first,
            pair.second,
            f"{100 * one.value:+.1f} [{100 * one.low:.1f}, {100 * one.high:.1f}]",
            "<0.001" if pair.adjusted < 0.001 else f"{pair.adjusted:.3f}",
            MISSING if pair.improvement is None else f"{pair.improvement:.2f}",
            MISSING if detectable is None else f"{100 * detectable:.1f}",
            str(one.questions),
            "{}/{}".format(*one.seeds),
        ]


def compare_pairs(comparison: Comparison, base: int | None, *, also: Sequence[tuple[int, int]] = ()) -> Pairs:
    """Compare groups of runs in all of the comparison's metrics that are made of answers.

    Args:
        comparison: the runs.
        base: index of the group that the others are compared with; None: all pairs.
        also: further pairs of groups, by index.

    Raises:
        UserError: the answers of a run cannot be read.
    """
    groups, names = seed_groups(comparison), group_names(comparison)
    found: list[Pair] = []
    untested = _unanswered(comparison) if len(groups) > 1 else []
    for first, second in [*pairs_of_groups(len(groups), base), *also]:
        for metric in comparison.metrics:
            answers = [_by_seed(comparison, groups[place]) for place in (first, second)]
            ours, theirs = ([comparison.runs[run].right.get(metric, {}) for run in runs] for _, runs in answers)
            if not all((*ours, *theirs)):
                continue
            seeds = [each for each, _ in answers]
            same_seeds = seeds[0] == seeds[1] and len(set(seeds[0])) == len(ours)
            pair = pair_of(metric, (names[first], names[second]), ours, theirs, same_seeds=same_seeds)
            if pair is None:
                untested.append(
                    f"{names[first]} and {names[second]} have no question of {metric} in common. "
                    "Evaluate both on the same clips."
                )
            else:
                found.append(pair)
    return Pairs(corrected(found), untested)


def pair_of(
    metric: str, names: tuple[str, str], ours: Sequence[Right], theirs: Sequence[Right], *, same_seeds: bool
) -> Pair | None:
    """The difference of two groups in one metric, not corrected yet; None if they have no question in common.

    Args:
        metric: name of the metric.
        names: names of the groups.
        ours: which questions each seed of the first group answers right.
        theirs: the same of the second group.
        same_seeds: whether both have the same seeds in the same order.
    """
    common = common_answers([*ours, *theirs])
    if common is None:
        return None
    first, second = np.split(common.right, [len(ours)])
    # One seed each is one pair of models, whatever the seeds.
    difference = paired_difference(first, second, common.sizes, paired_seeds=same_seeds or len(common.right) == 2)
    better = None
    if len(common.right) > 2:
        better = probability_of_improvement(first.sum(1).tolist(), second.sum(1).tolist())
    return Pair(metric, *names, difference, 1.0, better, common.left_out)


def corrected(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs with p-values by Holm's correction over all of them."""
    adjusted = holm([pair.difference.p for pair in pairs])
    return [replace(pair, adjusted=p) for pair, p in zip(pairs, adjusted, strict=True)]


def group_names(comparison: Comparison) -> list[str]:
    """Short names of the groups: the value alone, if they differ in one setting that is a word."""
    groups = seed_groups(comparison)
    values = [group.values[0] for group in groups if len(group.values) == 1]
    words = [value for value in values if isinstance(value, str)]
    return words if len(words) == len(groups) else [group.label for group in groups]


def find_baseline(comparison: Comparison, baseline: str | None) -> int | None:
    """The index of the group that the others are compared with; None: all pairs are compared.

    Args:
        comparison: the runs.
        baseline: label of the group, or a value that no other group has; None: the first group, if there are more than
            four.

    Raises:
        UserError: no group, or more than one, is called `baseline`.
    """
    groups = seed_groups(comparison)
    if baseline is None:
        return 0 if len(groups) > MOST_GROUPS_IN_ALL_PAIRS else None
    called = [(group.label, *map(show_setting, group.values)) for group in groups]
    found = [place for place, each in enumerate(called) if baseline in each]
    if len(found) != 1:
        number = "no group of runs has this name" if not found else f"{len(found)} groups of runs have this value"
        raise UserError(f"baseline={baseline}: {number}. Use {' or '.join(group.label for group in groups)}.")
    return found[0]


def pairs_of_groups(number: int, base: int | None) -> list[tuple[int, int]]:
    """The pairs of groups to compare, by index."""
    if base is None:
        return list(combinations(range(number), 2))
    return [(place, base) for place in range(number) if place != base]


def _by_seed(comparison: Comparison, group: SeedGroup) -> tuple[list[str], list[int]]:
    """The seeds of a group and its runs, in the order of the seeds."""
    seeds = comparison.settings.get(SEED, [0] * len(comparison.runs))
    runs = sorted(group.runs, key=lambda run: str(seeds[run]))
    return [str(seeds[run]) for run in runs], runs


def _unanswered(comparison: Comparison) -> list[str]:
    missing = [run.path for run in comparison.runs if not run.right]
    if not missing:
        return []
    which = "the runs" if len(missing) == len(comparison.runs) else f"{len(missing)} of {len(comparison.runs)} runs"
    write = f"`vtok evaluate run=RUN out=RUN/{ANSWERS}`, where RUN is {missing[0]}"
    return [f"No differences question by question: {which} have no {ANSWERS}. Write it with {write}."]


def _shown(pair: Pair) -> str:
    one = pair.difference
    better, worse = (pair.first, pair.second) if one.value > 0 else (pair.second, pair.first)
    low, high = (one.low, one.high) if one.value > 0 else (-one.high, -one.low)
    return f"shown: {better} is {_points(low)} to {_points(high)} points above {worse} on {pair.metric}."


def _not_shown(pair: Pair, level: float) -> str:
    one = pair.difference
    ends = f"{_points(one.low)} to {_points(one.high)}"
    text = f"not shown: {pair.first} and {pair.second} differ on {pair.metric} ({_points(one.value)} points, {ends})"
    if one.least_p > level:
        return f"{text}; the seeds are too few for this table."
    detectable = one.detectable(level=level)
    if detectable is not None:
        text += f"; this comparison could have shown {_points(detectable)} points"
    if max(one.seeds) > 1:
        needed = one.seeds_needed(PLANNED_POINTS / 100, level=level)
        text += f"; {PLANNED_POINTS} points take " + ("more clips" if needed is None else f"{needed} seeds each")
    return f"{text}."


def _points(share: float) -> str:
    """A share in points, with a decimal below 10."""
    return f"{100 * share:.0f}" if abs(share) >= 0.0995 else f"{100 * share:.1f}"
