"""Runs that differ by their seed alone, taken together: the mean of their figures, and how sure it is."""

import math
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from vtok.common.statistics import student
from vtok.runs.comparison import MISSING, SEED, Comparison, numeric, show_number, show_setting


@dataclass(frozen=True)
class Setting:
    """`runs` are the places in `Comparison.runs` of those with the same `values`, the seed left out."""

    label: str
    values: list[Any]
    runs: list[int]


@dataclass(frozen=True)
class Estimate:
    """A figure of a setting, and its 95 % interval where there is one: `single` is each run's own figure."""

    value: float
    low: float | None
    high: float | None
    single: list[float]

    def text(self) -> str:
        known = self.low is not None and self.high is not None
        return show_number(self.value) + (f" [{show_number(self.low)}, {show_number(self.high)}]" if known else "")


def without_seed(comparison: Comparison) -> Comparison:
    return replace(comparison, settings={key: values for key, values in comparison.settings.items() if key != SEED})


def settings_of(comparison: Comparison) -> list[Setting]:
    """The settings in the order of their first runs; where no seed differs, each run is one."""
    rest = without_seed(comparison)
    rows = [[column[index] for column in rest.settings.values()] for index in range(len(comparison.runs))]
    if SEED not in comparison.settings:
        return [Setting(rest.label(index), row, [index]) for index, row in enumerate(rows)]
    groups: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(repr(row), []).append(index)
    return [
        Setting(rest.label(runs[0]) if rest.settings else f"{len(runs)} seeds", rows[runs[0]], runs)
        for runs in groups.values()
    ]


def estimate(comparison: Comparison, setting: Setting, metric: str) -> Estimate | None:
    """The figure `metric` of a setting; None where none of its runs has it as a number.

    Of one run it is that with the interval the run states, which is over the clips. Of several it is their mean with
    Student's interval over the runs, held within 0..1 for a share and at 0 or more where no run is below. Runs that
    agree to the last digit have none: its width would be 0, and they are not that sure.
    """
    summaries = [comparison.runs[index].summary for index in setting.runs]
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
    """Whether the figure is a share of right answers: those state an interval."""
    return any(f"{metric}_low" in run.summary for run in comparison.runs)


def seed_table(comparison: Comparison) -> list[list[str]]:
    """The settings with the means of their figures, a header first; empty where no setting has several runs."""
    settings = settings_of(comparison)
    if all(len(setting.runs) == 1 for setting in settings):
        return []
    metrics = [name for name in comparison.metrics if any(numeric(run.summary.get(name)) for run in comparison.runs)]
    header = ["seeds", *without_seed(comparison).settings, *metrics]
    rows = []
    for setting in settings:
        figures = [estimate(comparison, setting, name) for name in metrics]
        shown = [MISSING if figure is None else figure.text() for figure in figures]
        rows.append([str(len(setting.runs)), *(show_setting(value) for value in setting.values), *shown])
    return [header, *rows]
