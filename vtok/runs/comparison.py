"""Runs side by side: what differs in their configs and what came of it, as a table."""

import csv
import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeGuard

from vtok.common.errors import UserError
from vtok.common.nested import flatten
from vtok.common.tables import markdown, table
from vtok.runs.saved_run import Run

DEFAULT_METRICS = (
    "alignment/motion_direction",
    "alignment/colour",
    "reconstruct/motion_direction",
    "generate/motion_direction",
    "generate/colour",
    "visual/rollout",
    "tokens_per_clip",
    "seconds_per_step",
    "parameters/trained",
)
MISSING = "-"
SEED = "seed"


@dataclass(frozen=True)
class Comparison:
    """`settings[key]` holds one value a run (of `runs`), for every config key in which the runs differ.

    `failed` are the runs that left no figures; they are in no column.
    """

    runs: list[Run]
    failed: list[Run]
    settings: dict[str, list[Any]]
    metrics: list[str]

    def label(self, index: int) -> str:
        """A short name of a run by what sets it apart: "stride=3, lr=0.001"."""
        lasts = [key.rpartition(".")[2] for key in self.settings]
        names = [last if lasts.count(last) == 1 else key for last, key in zip(lasts, self.settings, strict=True)]
        values = [column[index] for column in self.settings.values()]
        parts = [f"{name}={show_setting(value)}" for name, value in zip(names, values, strict=True)]
        return ", ".join(parts) or self.runs[index].path.name

    def header(self) -> list[str]:
        return ["run", *self.settings, *self.metrics]

    def rows(self) -> list[list[str]]:
        """One row a run, as shown: settings, then each figure with its interval where the run states one."""
        return [
            [
                run.path.name if run.status == "finished" else f"{run.path.name} ({run.status})",
                *(show_setting(column[index]) for column in self.settings.values()),
                *(show_metric(run, name) for name in self.metrics),
            ]
            for index, run in enumerate(self.runs)
        ]

    def text(self) -> str:
        """The table in aligned columns, and the runs without figures below it."""
        return "\n".join([table([self.header(), *self.rows()]), *self.failures()])

    def markdown(self) -> str:
        failures = [f"- {line}" for line in self.failures()]
        return "\n".join([markdown([self.header(), *self.rows()]), *(["", *failures] if failures else [])]) + "\n"

    def failures(self) -> list[str]:
        return [
            f"{run.status}, no figures: {run.path} ({' '.join(run.overrides) or 'no overrides'})" for run in self.failed
        ]

    def write_csv(self, path: Path) -> None:
        """Full precision, with each bound of an interval in a column of its own."""
        columns = [
            column
            for name in self.metrics
            for column in (name, f"{name}_low", f"{name}_high")
            if any(column in run.summary for run in self.runs)
        ]
        with path.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["run", "status", "mlflow_run_id", *self.settings, *columns])
            for index, run in enumerate(self.runs):
                settings = [show_setting(values[index]) for values in self.settings.values()]
                figures = [run.summary.get(column, "") for column in columns]
                writer.writerow([run.path, run.status, run.mlflow_run_id or "", *settings, *figures])


def compare_runs(runs: Sequence[Run], metrics: Sequence[str]) -> Comparison:
    """Compare runs by `metrics` (none given: the usual ones that they have).

    Raises UserError where no run has a figure yet, or a metric is in none of them.
    """
    ended = [run for run in runs if run.summary]
    failed = [run for run in runs if not run.summary]
    if not ended:
        raise UserError(
            f"None of the {len(runs)} runs has a summary.json to compare (the first is {runs[0].path}): "
            "see their train.log, or wait until one has finished."
        )
    known = list(dict.fromkeys(name for run in ended for name in run.summary))
    for name in metrics:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3) or known
            raise UserError(f"metrics: no run has the figure {name}; there is {', '.join(near)}.")
    chosen = list(metrics) or [name for name in DEFAULT_METRICS if name in known] or known
    return Comparison(runs=ended, failed=failed, settings=differing_settings(ended), metrics=chosen)


def differing_settings(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """The config keys in which the runs differ, with one value a run (MISSING where a run has no such key).

    A component chosen by an override (`tokeniser=key_frame`) is one setting, not one for each of its keys. Left out are
    a key that repeats another in every run (the same knob seen through an interpolation) and one that holds the run's
    own folder. The seed comes last.
    """
    flat = [flatten(run.config) for run in runs]
    given = [_given(run) for run in runs]
    named = list(dict.fromkeys(key for one in given for key in one))
    groups = [key for key in named if any(isinstance(run.config.get(key), dict) for run in runs)]
    differing_groups = {key: _choices(runs, given, key) for key in groups}
    differing_groups = {key: choices for key, choices in differing_groups.items() if _differ(choices)}
    settings: dict[str, list[Any]] = dict(differing_groups)
    keys = dict.fromkeys(key for one in flat for key in one)
    for key in sorted(keys, key=lambda key: key not in named):
        values = [one.get(key, MISSING) for one in flat]
        inside_group = key.partition(".")[0] in differing_groups and key not in named
        own_folder = all(str(run.path.absolute()) in str(value) for value, run in zip(values, runs, strict=True))
        if _differ(values) and not inside_group and not own_folder and values not in settings.values():
            settings[key] = values
    if SEED in settings:
        settings[SEED] = settings.pop(SEED)
    return settings


def numeric(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def show_metric(run: Run, name: str) -> str:
    """ "0.912", or "0.912 [0.880, 0.940]" where the run states an interval."""
    if name not in run.summary:
        return MISSING
    value, low, high = (run.summary.get(key) for key in (name, f"{name}_low", f"{name}_high"))
    interval = "" if low is None or high is None else f" [{show_number(low)}, {show_number(high)}]"
    return f"{show_number(value)}{interval}"


def show_number(value: Any) -> str:
    if not numeric(value):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    if value != 0 and abs(value) < 0.01:
        return f"{value:.2e}"
    return f"{value:.3f}" if abs(value) <= 1 else f"{value:.2f}"


def show_setting(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _differ(values: Sequence[Any]) -> bool:
    return any(first != second for first, second in pairwise(values))


def _given(run: Run) -> dict[str, str]:
    """The overrides of a run by key: ["+a.b=1", "c=d"] -> {"a.b": "1", "c": "d"}."""
    pairs = (override.lstrip("+").partition("=") for override in run.overrides if not override.startswith("~"))
    return {key: value for key, _, value in pairs}


def _choices(runs: Sequence[Run], given: Sequence[dict[str, str]], group: str) -> list[str]:
    """Each run's option of a group; one that names none has the option that another run names for the same class."""
    nodes = [run.config.get(group) for run in runs]
    targets = [str(node.get("_target_", MISSING)) if isinstance(node, dict) else MISSING for node in nodes]
    named = {target: one[group] for target, one in zip(targets, given, strict=True) if group in one}
    return [
        one.get(group) or named.get(target) or target.rpartition(".")[2]
        for target, one in zip(targets, given, strict=True)
    ]
