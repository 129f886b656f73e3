"""The runs of a study: what has finished, which settings are chosen, and which runs are reported."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from vtok.common.errors import UserError
from vtok.common.files import write_text
from vtok.common.foreign_files import read_mapping
from vtok.common.nested import flatten
from vtok.config.options import one_of
from vtok.data.clip import VALIDATION
from vtok.runs.comparison import SEED, numeric
from vtok.runs.saved_run import SavedRun, find_runs, read_run
from vtok.runs.study import Study

CHOSEN = "chosen.json"


def tuning_folder(folder: Path, method: str) -> Path:
    """The sweep folder of a method's tuning runs, in the study's folder."""
    return folder / "tuning" / method


def final_folder(folder: Path, method: str) -> Path:
    """The sweep folder of a method's final runs, in the study's folder."""
    return folder / "seeds" / method


@dataclass(frozen=True)
class Choice:
    """The tuned settings of a method.

    Attributes:
        settings: chosen values by key.
        tried: (values by key, score) of every setting; the score is the mean of `Study.choose_by` over tuning seeds.
    """

    settings: dict[str, Any]
    tried: list[tuple[dict[str, Any], float]]

    @property
    def at_the_edge(self) -> list[str]:
        """Keys whose chosen value is the least or the greatest of three or more, so that another may be better."""
        edges = []
        for key, value in self.settings.items():
            values = sorted({tried[key] for tried, _ in self.tried if numeric(tried[key])})
            if len(values) > 2 and value in (values[0], values[-1]):
                edges.append(key)
        return edges


def choose_settings(study: Study, method: str, runs: Sequence[SavedRun]) -> Choice:
    """Choose a method's settings by its finished tuning runs.

    Raises:
        UserError: a run has not finished, or lacks a metric.
    """
    tried = []
    for settings in study.tried:
        wanted = with_seeds(settings, study.tuning_seeds)
        scores: list[float] = []
        for want, run in zip(wanted, finished_runs(runs, wanted), strict=True):
            if run is None:
                shown = ", ".join(f"{key}={value}" for key, value in want.items())
                raise UserError(f"{method}: the tuning run with {shown} has not finished. Start the study again.")
            scores.extend(_metric(run, name) for name in study.choose_by)
        tried.append((settings, fmean(scores)))
    return Choice(max(tried, key=lambda one: one[1])[0], tried)


def write_choices(choices: Mapping[str, Choice], folder: Path) -> None:
    """Write the tuned settings of methods, with every setting that was tried, beside those of other methods."""
    file = folder / CHOSEN
    known = dict(read_mapping(file)) if file.is_file() else {}
    new = {name: {"settings": one.settings, "tried": one.tried} for name, one in choices.items()}
    write_text(file, json.dumps(known | new, indent=1))


def final_runs(study: Study, choices: Mapping[str, Choice], folder: Path) -> dict[str, list[SavedRun]]:
    """The final runs of each method: those with the study's seeds and the chosen settings.

    Raises:
        UserError: a run has not finished.
    """
    found = {}
    for method, choice in choices.items():
        place, wanted = final_folder(folder, method), with_seeds(choice.settings, study.seeds)
        found[method] = [run for run in finished_runs(runs_in(place), wanted) if run is not None]
        if len(found[method]) != len(wanted):
            raise UserError(
                f"{place}: {len(found[method])} of {len(wanted)} final runs have finished. Start the study again."
            )
    return found


def with_seeds(settings: Mapping[str, Any], seeds: Sequence[int]) -> list[dict[str, Any]]:
    """The settings with each seed: values by key."""
    return [{**settings, SEED: seed} for seed in seeds]


def finished_runs(runs: Sequence[SavedRun], wanted: Sequence[Mapping[str, Any]]) -> list[SavedRun | None]:
    """A finished run for each of the wanted settings by key; None where there is none."""
    configs = [(flatten(run.config), run) for run in runs if run.status == "finished"]
    return [
        next((run for config, run in configs if all(config.get(key) == want[key] for key in want)), None)
        for want in wanted
    ]


def runs_in(folder: Path) -> list[SavedRun]:
    return [read_run(path) for path in find_runs(folder)]


def check_metrics(study: Study, runs: Sequence[SavedRun]) -> None:
    """Check that finished tuning runs have the metrics that the study names.

    Raises:
        UserError: none of the runs has one of them.
    """
    finished = [run for run in runs if run.status == "finished"]
    for key, names in (("choose_by", study.choose_by), ("metrics", study.metrics)):
        for name in names:
            if finished and not any(numeric(run.summary.get(name)) for run in finished):
                raise _unknown_metric(finished[0], name, key=key)


def _metric(run: SavedRun, name: str) -> float:
    value = run.summary.get(name)
    if not numeric(value):
        raise _unknown_metric(run, name, key="choose_by")
    return float(value)


def _unknown_metric(run: SavedRun, name: str, *, key: str) -> UserError:
    of_validation = name.startswith(VALIDATION)
    known = [one for one in run.summary if one.startswith(VALIDATION) == of_validation]
    return UserError(f"{key}: {run.path} has no metric {name}. {one_of(name, known)}")
