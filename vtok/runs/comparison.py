"""Comparing runs: a table of the settings in which they differ and of their metrics."""

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
from vtok.runs.saved_run import SavedRun

DEFAULT_METRICS = (
    "alignment/motion_direction",
    "alignment/colour",
    # The only accuracy of clips with captions alone.
    "alignment/caption",
    "reconstruct/motion_direction",
    "generate/motion_direction",
    "generate/colour",
    "visual/rollout",
    "tokens_per_clip",
    "seconds_per_step",
    "parameters/trained",
)
# Accuracy from which a category counts as learnt, where none is given.
LEARNT = 0.9
MISSING = "-"
SEED = "seed"


@dataclass(frozen=True)
class Comparison:
    """Runs with the settings in which they differ.

    Attributes:
        runs: runs that have metrics, in the order of the rows.
        failed: runs without metrics; the table has no row for them.
        settings: for each config key in which the runs differ, its value in each of `runs`.
        metrics: names of the metrics to compare.
        learnt: accuracy from which a category counts as learnt, for the time to learn it.
    """

    runs: list[SavedRun]
    failed: list[SavedRun]
    settings: dict[str, list[Any]]
    metrics: list[str]
    learnt: float

    @property
    def names(self) -> list[str]:
        """The name of each run's folder, after as many of the folders above it as distinguish them."""
        parts = [run.path.absolute().parts for run in self.runs]
        lengths = range(1, max(map(len, parts), default=0) + 1)
        every = (["/".join(one[-length:]) for one in parts] for length in lengths)
        return next((names for names in every if len(set(names)) == len(names)), [run.path.name for run in self.runs])

    def label(self, index: int) -> str:
        """A short name of a run, from the settings in which it differs: "stride=3, lr=0.001"."""
        short_keys = [key.rpartition(".")[2].rpartition("/")[2] for key in self.settings]
        names = [
            short if short_keys.count(short) == 1 else key for short, key in zip(short_keys, self.settings, strict=True)
        ]
        values = [column[index] for column in self.settings.values()]
        parts = [f"{name}={show_setting(value)}" for name, value in zip(names, values, strict=True) if value != MISSING]
        return ", ".join(parts) or self.names[index]

    def header(self) -> list[str]:
        return ["run", *self.settings, *self.metrics]

    def rows(self) -> list[list[str]]:
        """One row of text for each run: its settings, then its metrics with their intervals, if it has them."""
        return [
            [
                name if run.status == "finished" else f"{name} ({run.status})",
                *(show_setting(column[index]) for column in self.settings.values()),
                *(show_metric(run, name) for name in self.metrics),
            ]
            for index, (name, run) in enumerate(zip(self.names, self.runs, strict=True))
        ]

    def text(self) -> str:
        """The table in aligned columns, followed by the runs without metrics."""
        return "\n".join([table([self.header(), *self.rows()]), *self.failures()])

    def markdown(self) -> str:
        failures = [f"- {line}" for line in self.failures()]
        return "\n".join([markdown([self.header(), *self.rows()]), *(["", *failures] if failures else [])]) + "\n"

    def failures(self) -> list[str]:
        return [
            f"{run.status}, no metrics: {run.path} ({' '.join(run.overrides) or 'no overrides'})" for run in self.failed
        ]

    def write_csv(self, path: Path) -> None:
        """Write the table in full precision, with each bound of an interval in a column of its own."""
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
                metrics = [run.summary.get(column, "") for column in columns]
                writer.writerow([run.path, run.status, run.mlflow_run_id or "", *settings, *metrics])


def compare_runs(runs: Sequence[SavedRun], metrics: Sequence[str], *, learnt: float = LEARNT) -> Comparison:
    """Compare runs by `metrics`; if it is empty, by the default ones. `learnt`: see `Comparison`.

    Raises:
        UserError: no run has metrics yet, or no run has a metric of that name.
    """
    finished = [run for run in runs if run.summary]
    failed = [run for run in runs if not run.summary]
    if not finished:
        raise UserError(
            f"None of the {len(runs)} runs has a summary.json to compare (the first is {runs[0].path}). "
            "Wait until a run has finished, or look for an error in train.log of the run folder."
        )
    known = list(dict.fromkeys(name for run in finished for name in run.summary))
    for name in metrics:
        if name not in known:
            similar = difflib.get_close_matches(name, known, n=3) or known
            raise UserError(f"metrics={name}: no run has this metric. Use {' or '.join(similar)}.")
    chosen = list(metrics) or default_metrics(known)
    settings = differing_settings(finished)
    return Comparison(runs=finished, failed=failed, settings=settings, metrics=chosen, learnt=learnt)


def default_metrics(known: Sequence[str]) -> list[str]:
    """Those of `DEFAULT_METRICS` that are known; without an accuracy among them, as for questions of one's own, those
    of all choice questions come first.
    """
    found = [name for name in DEFAULT_METRICS if name in known]
    if any("/" in name and not name.startswith("parameters/") for name in found):
        return found
    choices = [name for name in known if name.startswith("alignment/") and f"{name}_questions" in known]
    return [*choices, *found] or list(known)


def differing_settings(runs: Sequence[SavedRun]) -> dict[str, list[Any]]:
    """The config keys in which the runs differ, with one value for each run; MISSING if a run does not have the key.

    A component chosen by an override (`tokeniser=key_frame`, `tokeniser/motion_pooling=frame`) is one setting. Its keys
    are left out, unless runs with the same component differ in them. Keys that equal another one in every run (such as
    interpolations) and paths below the run folder are left out too. The seed is last.
    """
    flat = [flatten(run.config) for run in runs]
    given = [_given(run) for run in runs]
    named = list(dict.fromkeys(key for one in given for key in one))
    groups = [key for key in named if any(isinstance(_node(run, key), dict) for run in runs)]
    differing_groups = {key: _choices(runs, given, key) for key in groups}
    differing_groups = {key: choices for key, choices in differing_groups.items() if _differ(choices)}
    settings: dict[str, list[Any]] = dict(differing_groups)
    keys = dict.fromkeys(key for one in flat for key in one)
    for key in sorted(keys, key=lambda key: key not in named):
        values = [one.get(key, MISSING) for one in flat]
        around = [choices for group, choices in differing_groups.items() if key.startswith(f"{_path(group)}.")]
        follows = bool(around) and key not in named and not _differ_within(values, list(zip(*around, strict=True)))
        own_folder = all(str(run.path.absolute()) in str(value) for value, run in zip(values, runs, strict=True))
        if _differ(values) and not follows and not own_folder and values not in settings.values():
            settings[key] = values
    if SEED in settings:
        settings[SEED] = settings.pop(SEED)
    return settings


def numeric(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def show_metric(run: SavedRun, name: str) -> str:
    """ "0.912", or "0.912 [0.880, 0.940]" if the run has an interval."""
    if name not in run.summary:
        return MISSING
    value, low, high = (run.summary.get(key) for key in (name, f"{name}_low", f"{name}_high"))
    return f"{show_number(value)}{show_interval(value, low, high)}"


def show_interval(value: Any, low: Any, high: Any) -> str:
    """ " [0.001, 0.940]" behind a value, with its decimals; nothing if there is no interval."""
    if low is None or high is None:
        return ""
    # 0.0068 beside 0.35 is 0.007, not 6.80e-03.
    decimals = numeric(value) and 0.01 <= abs(value) <= 1
    return f" [{low:.3f}, {high:.3f}]" if decimals else f" [{show_number(low)}, {show_number(high)}]"


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


def _differ_within(values: Sequence[Any], choices: Sequence[Any]) -> bool:
    """Whether values differ among runs with the same choice."""
    same = [[value for value, one in zip(values, choices, strict=True) if one == choice] for choice in set(choices)]
    return any(map(_differ, same))


def _path(group: str) -> str:
    """Where an override of a group is in the config: "a/b=option" at a.b, "a/b@c.d=option" at c.d."""
    option, _, place = group.partition("@")
    return place or option.replace("/", ".")


def _node(run: SavedRun, group: str) -> Any:
    """The value of a group in the config of a run; None if the run does not have it."""
    node: Any = run.config
    for part in _path(group).split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _given(run: SavedRun) -> dict[str, str]:
    """The overrides of a run by key: ["+a.b=1", "c=d"] -> {"a.b": "1", "c": "d"}."""
    pairs = (override.lstrip("+").partition("=") for override in run.overrides if not override.startswith("~"))
    return {key: value for key, _, value in pairs}


def _choices(runs: Sequence[SavedRun], given: Sequence[dict[str, str]], group: str) -> list[str]:
    """Each run's option of a config group. A run without an override has the option that others name for its class."""
    nodes = [_node(run, group) for run in runs]
    targets = [str(node.get("_target_", MISSING)) if isinstance(node, dict) else MISSING for node in nodes]
    named = {target: one[group] for target, one in zip(targets, given, strict=True) if group in one}
    return [
        one.get(group) or named.get(target) or target.rpartition(".")[2]
        for target, one in zip(targets, given, strict=True)
    ]
