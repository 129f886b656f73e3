"""Time to learn: the step from which an accuracy stays at a given one or above, over the seeds of each group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import CensoredData, ecdf, permutation_test

from vtok.common.differences import LEVEL
from vtok.common.statistics import holm
from vtok.data.clip import VALIDATION
from vtok.runs.comparison import MISSING, Comparison
from vtok.runs.curves import read_journal
from vtok.runs.pairs import group_names, pairs_of_groups
from vtok.runs.seeds import is_share, seed_groups
from vtok.tracking.sender import JOURNAL

Journal = Mapping[str, Mapping[int, float]]

# Up to 8 seeds in each group all labellings are tried.
MOST_LABELLINGS = 20_000


@dataclass(frozen=True)
class LearningTime:
    """When one run has learnt a category.

    Attributes:
        learnt: whether it has.
        step: step of the evaluation from which on all are at `Learning.learnt` or above; that of the last evaluation if
            the run has not learnt it.
        seconds: duration of the training steps until then, without evaluations; None if unknown.
        clips: number of clips trained on until then; None if unknown.
    """

    learnt: bool
    step: float
    seconds: float | None
    clips: float | None


@dataclass(frozen=True)
class Learning:
    """Times to learn of groups of runs.

    Attributes:
        names: names of the groups.
        histories: values by metric, index of the group, seed and step.
        times: times by metric, index of the group and seed.
        learnt: accuracy from which a metric counts as learnt.
    """

    names: list[str]
    histories: dict[str, dict[int, list[dict[int, float]]]]
    times: dict[str, dict[int, list[LearningTime]]]
    learnt: float

    def rows(self) -> list[list[str]]:
        """A header, and a row for each metric and group; empty if no run has evaluations during training."""
        if not self.times:
            return []
        header = ["metric", "group", "learnt", "steps of the seeds", "median step", "median seconds", "median clips"]
        return [header, *(self._row(metric, group) for metric, groups in self.times.items() for group in groups)]

    def text(self) -> str:
        """How the table is to be read."""
        high = f"{100 * self.learnt:.0f} % or above"
        return (
            f"time until a metric stays at {high} on validation clips; medians by Kaplan and Meier, comparisons by the "
            "log-rank test (permutation, Holm's correction over this table)"
        )

    def sentences(self, base: int | None, *, also: Sequence[tuple[int, int]] = ()) -> list[str]:
        """Which group learns a metric sooner than another, by the log-rank test with Holm's correction.

        The correction is over the pairs and metrics of this table. Groups of one seed are not tested.

        Args:
            base: index of the group that the others are compared with; None: all pairs.
            also: further pairs of groups, by index.
        """
        tests = []
        for metric, groups in self.times.items():
            for first, second in [*pairs_of_groups(len(self.names), base), *also]:
                several = [groups.get(place, []) for place in (first, second)]
                if min(map(len, several)) > 1 and any(time.learnt for times in several for time in times):
                    tests.append((metric, self.names[first], self.names[second], sooner(*several)))
        adjusted = holm([p for *_, (_, p) in tests])
        shown = [
            f"shown: {first if before else second} learns {metric} sooner than {second if before else first}."
            for (metric, first, second, (before, _)), p in zip(tests, adjusted, strict=True)
            if p <= LEVEL
        ]
        if tests and not shown:
            return [
                f"not shown in {len(tests)} comparison{'' if len(tests) == 1 else 's'}: one group learns sooner than "
                "another (log-rank test)."
            ]
        return shown

    def _row(self, metric: str, group: int) -> list[str]:
        times = self.times[metric][group]
        steps = [f"{time.step:,.0f}" if time.learnt else f">{time.step:,.0f}" for time in times]
        learnt = f"{sum(time.learnt for time in times)} of {len(times)}"
        medians = [median_time(times, unit) for unit in ("step", "seconds", "clips")]
        return [metric, self.names[group], learnt, " ".join(steps), *medians]


def read_learning(comparison: Comparison) -> Learning:
    """The times to learn the comparison's accuracies on validation clips, of runs evaluated more than once."""
    groups = seed_groups(comparison)
    journals = [read_journal(run.path / JOURNAL) for run in comparison.runs]
    histories: dict[str, dict[int, list[dict[int, float]]]] = {}
    times: dict[str, dict[int, list[LearningTime]]] = {}
    for metric in comparison.metrics:
        for place, group in enumerate(groups):
            # Evaluations during training are on validation clips. A resumed run has several values on test clips, too.
            name = metric if metric.startswith(VALIDATION) else f"{VALIDATION}{metric}"
            found = [journals[run] for run in group.runs if len(journals[run].get(name, {})) > 1]
            if is_share(comparison, metric) and found:
                histories.setdefault(metric, {})[place] = [dict(journal[name]) for journal in found]
                times.setdefault(metric, {})[place] = [
                    learning_time(journal, name, learnt=comparison.learnt) for journal in found
                ]
    return Learning(group_names(comparison), histories, times, comparison.learnt)


def learning_time(journal: Journal, metric: str, *, learnt: float) -> LearningTime:
    """The time until a metric stays at `learnt` or above, from a run's metrics by name and step."""
    steps = list(journal[metric])
    below = [place for place, step in enumerate(steps) if journal[metric][step] < learnt]
    first = below[-1] + 1 if below else 0
    reached = first < len(steps)
    step = steps[first] if reached else steps[-1]
    seconds, clips = effort(journal, step)
    return LearningTime(reached, step, seconds, clips)


def effort(journal: Journal, step: int) -> tuple[float | None, float | None]:
    """The seconds and clips of training until a step, from the logged speeds; None if unknown."""
    each, speed = (journal.get(f"train/{name}", {}) for name in ("seconds_per_step", "samples_per_second"))
    logged = [at for at in each if at in speed]
    if not logged:
        return None, None
    seconds = np.diff(logged, prepend=0) * [each[at] for at in logged]
    clips = seconds * [speed[at] for at in logged]
    until = [float(np.interp(step, [0, *logged], [0, *np.cumsum(one)])) for one in (seconds, clips)]
    return until[0], until[1]


def survival(times: Sequence[LearningTime], unit: str = "step") -> tuple[list[float], list[float]]:
    """Times, and the shares of seeds that have not learnt by each of them (Kaplan and Meier 1958)."""
    estimate = ecdf(_censored(times, unit)).sf
    return estimate.quantiles.tolist(), estimate.probabilities.tolist()


def median_time(times: Sequence[LearningTime], unit: str) -> str:
    """The time by which half of the seeds have learnt, as text: ">1,000" if fewer have by then, "-" if unknown."""
    if any(getattr(time, unit) is None for time in times):
        return MISSING
    at, shares = survival(times, unit)
    median = next((one for one, share in zip(at, shares, strict=True) if share <= 0.5), None)
    return f">{at[-1]:,.0f}" if median is None else f"{median:,.0f}"


def sooner(first: Sequence[LearningTime], second: Sequence[LearningTime]) -> tuple[bool, float]:
    """Whether the first group learns sooner, and the two-sided p-value of the log-rank test by permutation.

    The normal approximation of the log-rank test shows too much with few seeds: for 3 seeds that all learn before
    3 others its p-value is 0.02, where 2 of the 20 labellings are as extreme. Up to 8 seeds in each group the p-value
    is exact.
    """
    scores = log_rank_scores([*first, *second])
    groups = scores[: len(first)], scores[len(first) :]
    found = permutation_test(
        groups, lambda some, others, axis: some.sum(axis), vectorized=True, n_resamples=MOST_LABELLINGS,
        permutation_type="independent", random_state=0,
    )  # fmt: skip
    return bool(found.statistic > 0), float(found.pvalue)


def log_rank_scores(times: Sequence[LearningTime]) -> np.ndarray:
    """For each run, whether it has learnt, minus its expectation if all runs were alike; positive: it learns soon.

    The sum over a group is the numerator of the log-rank test: the number of its runs that have learnt minus the
    number expected.
    """
    steps, learnt = np.array([time.step for time in times]), np.array([time.learnt for time in times])
    events = np.unique(steps[learnt])
    hazards = [(learnt & (steps == event)).sum() / (steps >= event).sum() for event in events]
    return learnt - np.array(
        [sum(h for h, event in zip(hazards, events, strict=True) if event <= step) for step in steps]
    )


def _censored(times: Sequence[LearningTime], unit: str) -> CensoredData:
    known = [getattr(time, unit) for time in times if time.learnt]
    return CensoredData(uncensored=known, right=[getattr(time, unit) for time in times if not time.learnt])
