"""A Hydra callback that starts and finishes the parent run of a sweep.

Hydra instantiates callbacks for every run, sweep or not, so MLflow and matplotlib are imported where they are used.
"""

import atexit
import logging
import sys
from pathlib import Path
from typing import Any, Literal

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from vtok.common.errors import UserError
from vtok.runs.saved_run import find_runs, read_run
from vtok.runs.sweep_folder import FINISHED, is_grid

logger = logging.getLogger(__name__)


class SweepParent(Callback):
    """Puts the runs of a sweep under one MLflow parent run, and compares them at the end.

    Set as `hydra.callbacks.NAME._target_`. The parent run is in the MLflow store of `tracking`, if it has one; the jobs
    find it in the sweep folder's `mlflow_parent.json`. A sweep folder that is used again keeps its parent run.
    """

    def __init__(self) -> None:
        self._sweep_dir: Path | None = None
        self._grid = True

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        sweep_dir = Path(config.hydra.sweep.dir)
        if "uri" in config.tracking:
            from vtok.runs.mlflow_parent import start_parent

            try:
                tags = {"vtok.sweep": " ".join(swept_overrides(config))}
                start_parent(sweep_dir, config.tracking, name=sweep_name(config), tags=tags)
            except UserError as error:
                # Hydra only warns about an exception in a callback, and then every job would fail.
                sys.exit(str(error))
        self._sweep_dir, self._grid = sweep_dir, is_grid(config)
        # Hydra does not call on_multirun_end when a job fails, but a failed sweep is finished and compared too.
        atexit.register(self._finish, "FAILED")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        if self._sweep_dir is not None:
            (self._sweep_dir / FINISHED).touch()
        self._finish("FINISHED")

    def _finish(self, status: Literal["FINISHED", "FAILED"]) -> None:
        sweep_dir, self._sweep_dir = self._sweep_dir, None
        if sweep_dir is None:
            return
        from vtok.runs.mlflow_parent import ARTIFACT_FOLDER, finish_parent, read_parent
        from vtok.runs.report import report_sweep

        parent = read_parent(sweep_dir)
        try:
            if not find_runs(sweep_dir):
                return
            print(f"\nsweep {sweep_dir}")
            report_sweep(sweep_dir, metrics=(), out=sweep_dir / ARTIFACT_FOLDER)
            print_unfinished(sweep_dir, again=self._grid)
        except UserError as error:
            logger.error("%s", error)
        finally:
            if parent is not None and not parent.of_study:
                files = [file for file in [sweep_dir / "multirun.yaml"] if file.is_file()]
                finish_parent(parent, status, files=files)


def print_unfinished(sweep_dir: Path, *, again: bool) -> None:
    """Print the runs of a sweep that did not finish; `again`: whether the same command resumes them."""
    runs = [read_run(path) for path in find_runs(sweep_dir)]
    hint = ". Run the same command again to resume only these" if again else ""
    if unfinished := [run for run in runs if run.status != "finished"]:
        print(f"\n{len(unfinished)} of {len(runs)} runs did not finish{hint}:")
        print(*(f"  {run.path}: {run.status}, {' '.join(run.overrides)}" for run in unfinished), sep="\n")


def sweep_name(config: DictConfig) -> str:
    """The option of the group `sweep`, or else the swept overrides: "tokeniser.stride=3,6,10"."""
    chosen = config.hydra.runtime.choices.get("sweep")
    return chosen or " ".join(swept_overrides(config)) or "sweep"


def swept_overrides(config: DictConfig) -> list[str]:
    """The overrides with more than one value, from the sweep file and from the command line."""
    params = config.hydra.sweeper.get("params") or {}
    parsed = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
    typed = [override.input_line for override in parsed if override.is_sweep_override()]
    return [*(f"{key}={value}" for key, value in params.items()), *(line for line in typed if line is not None)]
