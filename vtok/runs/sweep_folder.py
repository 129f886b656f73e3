"""Sweep folders. An interrupted sweep that is started again continues in its folder.

A sweep folder holds Hydra's `multirun.yaml` with the overrides, a run folder for each job, named by its number, and a
file `finished` when all jobs have finished.
"""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from vtok.common.errors import UserError
from vtok.common.foreign_files import read_mapping

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
        UserError: `outputs` has no sweep.
    """
    if sweep != "latest":
        return Path(sweep)
    sweeps = sorted(Path(outputs, "sweeps").glob("*/multirun.yaml"), key=lambda file: file.stat().st_mtime)
    if not sweeps:
        raise UserError(f"sweep=latest: there is no sweep in {outputs}/sweeps. Set sweep=DIR.")
    return sweeps[-1].parent


def task_overrides(overrides: Sequence[str]) -> list[str]:
    """The overrides without Hydra's own, as Hydra saves them in `multirun.yaml`."""
    return [item for item in overrides if not item.startswith(("hydra.", "hydra/"))]
