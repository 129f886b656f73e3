"""Sweep folders. An interrupted sweep that is started again continues in its folder.

A sweep folder holds Hydra's `multirun.yaml` with the overrides, a run folder for each job, named by its number, and a
file `finished` when all jobs have finished.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from vtok.common.errors import UserError
from vtok.common.foreign_files import read_mapping
from vtok.common.paths import user_path
from vtok.runs.saved_run import find_runs

FINISHED = "finished"


def unfinished_sweep(overrides: Sequence[str], outputs: str) -> Path | None:
    """The newest sweep in `outputs` with these overrides, if it has not finished; None otherwise."""
    known = sorted(Path(outputs, "sweeps").glob("*/multirun.yaml"), key=lambda file: file.stat().st_mtime)
    for file in reversed(known):
        sweep = OmegaConf.create(read_mapping(file))
        if is_grid(sweep) and OmegaConf.select(sweep, "hydra.overrides.task") == task_overrides(overrides):
            return None if (file.parent / FINISHED).exists() else file.parent
    return None


def is_grid(config: DictConfig) -> bool:
    """Whether a sweep is a grid, which has the same jobs every time; a search draws new values."""
    return str(OmegaConf.select(config, "hydra.sweeper._target_")).endswith("BasicSweeper")


def find_sweep(sweep: str, outputs: str) -> Path:
    """The sweep folder at a path, or for "latest" the newest one in `outputs`.

    Raises:
        UserError: the folder does not exist, or `outputs` has no sweep.
    """
    if sweep != "latest":
        if not os.path.isdir(user_path(sweep)):
            raise UserError(f"sweep={sweep} is not a folder. Use the folder of a sweep, or sweep=latest.")
        return user_path(sweep)
    sweeps = sorted(Path(outputs, "sweeps").glob("*/multirun.yaml"), key=lambda file: file.stat().st_mtime)
    if not sweeps:
        raise UserError(f"sweep=latest: {outputs}/sweeps has no sweep. Set sweep=DIR.")
    return sweeps[-1].parent


def runs_of_sweep(sweep_dir: Path) -> list[Path]:
    """The run folders of a sweep.

    Raises:
        UserError: there are none.
    """
    folders = find_runs(sweep_dir)
    if not folders:
        raise UserError(f"{sweep_dir} holds no run folder (none with a config.yaml). Use the folder of a sweep.")
    return folders


def title_of(sweep_dir: Path) -> str:
    return f"Sweep {sweep_dir.name}"


def task_overrides(overrides: Sequence[str]) -> list[str]:
    """The overrides without Hydra's own, as Hydra saves them in `multirun.yaml`."""
    return [item for item in overrides if not item.startswith(("hydra.", "hydra/"))]
