"""Sweep folders: a sweep that is started again goes on in the folder where it was cut off.

A sweep folder holds `multirun.yaml` (Hydra's, with the overrides), a run folder for each job under its number, and
`finished` once every job has.
"""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from vtok.common.errors import UserError
from vtok.common.foreign_files import read_mapping

FINISHED = "finished"


def sweep_to_go_on_with(overrides: Sequence[str], outputs: str) -> Path | None:
    """The newest sweep below `outputs` of these overrides, where it was not finished; None where there is none."""
    known = sorted(Path(outputs, "sweeps").glob("*/multirun.yaml"), key=lambda file: file.stat().st_mtime)
    for file in reversed(known):
        sweep = OmegaConf.create(read_mapping(file))
        if is_grid(sweep) and OmegaConf.select(sweep, "hydra.overrides.task") == task_overrides(overrides):
            return None if (file.parent / FINISHED).exists() else file.parent
    return None


def is_grid(config: DictConfig) -> bool:
    """Whether the same command again has the same jobs; a search draws other values every time."""
    return str(OmegaConf.select(config, "hydra.sweeper._target_")).endswith("BasicSweeper")


def find_sweep(sweep: str, outputs: str) -> Path:
    """A sweep folder by its path, or "latest": the newest below `outputs`; raises UserError where there is none."""
    if sweep != "latest":
        return Path(sweep)
    sweeps = sorted(Path(outputs, "sweeps").glob("*/multirun.yaml"), key=lambda file: file.stat().st_mtime)
    if not sweeps:
        raise UserError(f"sweep=latest: there is no sweep in {outputs}/sweeps; give sweep=DIR.")
    return sweeps[-1].parent


def task_overrides(overrides: Sequence[str]) -> list[str]:
    """The overrides that are the program's and not Hydra's, as Hydra notes them."""
    return [item for item in overrides if not item.startswith(("hydra.", "hydra/"))]
