"""Runs that differ only in the seed, as groups: the means of their metrics, with intervals."""

import math
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from vtok.common.statistics import student
from vtok.runs.comparison import MISSING, SEED, Comparison, numeric, show_number, show_setting


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
        has_interval = self.low is not None and self.high is not None
        interval = f" [{show_number(self.low)}, {show_number(self.high)}]" if has_interval else ""
        return f"{show_number(self.value)}{interval}"


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

    One run has the interval that it reports, which is over clips. Several runs have Student's interval over the runs,
    clipped to 0..1 for a share, and to 0 or more if no run is negative. Runs with exactly equal values have no
    interval, because an interval of width 0 would claim too much.
    """
    summaries = [comparison.runs[index].summary for index in group.runs]
    summaries = [summary for summary in summaries if numeric(summary.get(metric))]
    values = [value for summary in summaries if numeric(value := summary[metric])]
    if not values:
        return None
    if len(values) == 1:
        low, high = (summaries[0].get(f"{metric}_{end}") for end in ("low", "high"))
        return Estimate(values[0], low if numeric(low) else None, high if numeric(high) else None, values)
    least = 0.0 if min(values) >= 0 else -math.inf
    interval = student(values, least=least, most=1.0 if is_share(comparison, metric) else math.inf)
    if interval is None:
        return Estimate(values[0], None, None, values)
    return Estimate(fmean(values), *interval, values)


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
