"""Runs that differ only in the seed, as groups: the means of their metrics, with intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from vtok.common.statistics import share_interval, share_interval_of_runs, student
from vtok.runs.answered import common_answers
from vtok.runs.comparison import MISSING, SEED, Comparison, numeric, show_interval, show_number, show_setting
from vtok.runs.saved_run import SavedRun


@dataclass(frozen=True)
class SeedGroup:
    """Runs with the same settings except the seed.

    Attributes:
        label: short name of the group.
        values: values of the settings in which the groups differ.
        runs: indices of the runs in `Comparison.runs`.
    """

    label: str
    values: list[Any]
    runs: list[int]


@dataclass(frozen=True)
class Estimate:
    """A metric of a group, with its 95 % interval.

    Attributes:
        value: mean over the runs.
        low: lower bound of the interval; None if there is none.
        high: upper bound of the interval; None if there is none.
        per_run: value of each run.
    """

    value: float
    low: float | None
    high: float | None
    per_run: list[float]

    def text(self) -> str:
        return f"{show_number(self.value)}{show_interval(self.value, self.low, self.high)}"


def without_seed(comparison: Comparison) -> Comparison:
    return replace(comparison, settings={key: values for key, values in comparison.settings.items() if key != SEED})


def seed_groups(comparison: Comparison) -> list[SeedGroup]:
    """The groups in the order of their first runs. If all runs have the same seed, each run is a group."""
    rest = without_seed(comparison)
    rows = [[column[index] for column in rest.settings.values()] for index in range(len(comparison.runs))]
    if SEED not in comparison.settings:
        return [SeedGroup(rest.label(index), row, [index]) for index, row in enumerate(rows)]
    groups: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(repr(row), []).append(index)
    return [
        SeedGroup(rest.label(runs[0]) if rest.settings else f"{len(runs)} seeds", rows[runs[0]], runs)
        for runs in groups.values()
    ]


def estimate(comparison: Comparison, group: SeedGroup, metric: str) -> Estimate | None:
    """A metric of a group; None if none of its runs has it as a number.

    One run has the interval that it reports, which is over clips. Several runs have an interval over seeds and clips
    for a share of right answers. For other metrics they have Student's over the runs, clipped to 0 if no run is
    negative, and none if the runs are exactly equal, because one of width 0 would claim too much.
    """
    runs = [comparison.runs[index] for index in group.runs]
    runs = [run for run in runs if numeric(run.summary.get(metric))]
    values = [value for run in runs if numeric(value := run.summary[metric])]
    if not values:
        return None
    if len(values) == 1:
        low, high = (runs[0].summary.get(f"{metric}_{end}") for end in ("low", "high"))
        return Estimate(values[0], low if numeric(low) else None, high if numeric(high) else None, values)
    if is_share(comparison, metric):
        interval = share_over_seeds(runs, metric)
    else:
        interval = student(values, least=0.0 if min(values) >= 0 else -math.inf)
    low, high = interval or (None, None)
    # The mean of equal integers is written as an integer.
    return Estimate(values[0] if len(set(values)) == 1 else fmean(values), low, high, values)


def share_over_seeds(runs: Sequence[SavedRun], metric: str) -> tuple[float, float] | None:
    """The 95 % interval of a share of right answers over the seeds and clips of runs with the same settings.

    It is that of the answers if all runs have saved answers to the same questions, otherwise that of the runs' shares
    and intervals; None if a run reports no interval.
    """
    answered = common_answers([run.right.get(metric, {}) for run in runs])
    if answered is not None and not answered.left_out:
        return share_interval(answered.right, answered.sizes)
    numbers = [[run.summary.get(f"{metric}{end}") for end in ("", "_low", "_high")] for run in runs]
    known = [(value, low, high) for value, low, high in numbers if numeric(value) and numeric(low) and numeric(high)]
    if len(known) < len(runs):
        return None
    return share_interval_of_runs([value for value, _, _ in known], [(low, high) for _, low, high in known])


def is_share(comparison: Comparison, metric: str) -> bool:
    """Whether a metric is a share of right answers; only those have an interval in a run's summary."""
    return any(f"{metric}_low" in run.summary for run in comparison.runs)


def seed_table(comparison: Comparison) -> list[list[str]]:
    """A header, and a row for each group with the means of its metrics; empty if no group has several runs."""
    groups = seed_groups(comparison)
    if all(len(group.runs) == 1 for group in groups):
        return []
    metrics = [name for name in comparison.metrics if any(numeric(run.summary.get(name)) for run in comparison.runs)]
    header = ["seeds", *without_seed(comparison).settings, *metrics]
    rows = []
    for group in groups:
        estimates = [estimate(comparison, group, name) for name in metrics]
        texts = [MISSING if one is None else one.text() for one in estimates]
        rows.append([str(len(group.runs)), *(show_setting(value) for value in group.values), *texts])
    return [header, *rows]
