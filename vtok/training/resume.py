"""Which run to go on with, and whether it may be gone on with."""

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vtok.errors import UserError
from vtok.runs import find_run, listed_runs, load_config, read_status
from vtok.tracking.runs import flatten
from vtok.training.checkpoint import list_checkpoints

log = logging.getLogger(__name__)

# What may change between a run and its continuation without making it another experiment.
FREE = (
    "resume", "name", "outputs", "tracking", "evaluation", "generation", "data.num_workers", "data.make_workers",
    "trainer.max_steps", "trainer.log_every", "trainer.evaluate_every", "trainer.save_every",
    "trainer.keep_checkpoints", "trainer.processes", "trainer.progress", "trainer.profile_steps",
)  # fmt: skip


def run_to_resume(config: DictConfig) -> Path | None:
    """The run folder that `resume` means; None where a new run is to begin.

    `resume=auto` is the newest run of the same configuration that was stopped or failed after a checkpoint, or none;
    `resume=latest` or a path is that run, whatever became of it.

    Raises:
        UserError: there is no such run, it has no checkpoint, or it was made with another configuration.
    """
    if config.resume is None:
        return None
    if config.resume == "auto":
        unfinished = (run for run in listed_runs(config.outputs) if read_status(run).get("status") != "finished")
        fitting = [run for run in unfinished if has_checkpoint(run) and is_same(run, config)]
        return fitting[-1] if fitting else None
    run_dir = find_run(config.resume, config.outputs)
    if changed := differences(load_config(run_dir), config):
        listed = "; ".join(f"{key} was {before}, is {now}" for key, (before, now) in list(changed.items())[:5])
        raise UserError(
            f"resume={config.resume}: that run was made with another configuration ({listed}). Give the same overrides."
        )
    if not has_checkpoint(run_dir):
        raise UserError(f"resume={config.resume}: {run_dir} has no checkpoint to go on from.")
    warn_of_length(load_config(run_dir), config)
    return run_dir


def warn_of_length(before: DictConfig, now: DictConfig) -> None:
    """A schedule that ends with the run is another schedule when the run ends elsewhere."""
    old, new, schedule = before.trainer.max_steps, now.trainer.max_steps, str(now.scheduler.get("name"))
    if old != new and not schedule.startswith("constant"):
        log.warning(
            "trainer.max_steps was %d, is %d: the learning rate (%s) goes on as if it had been so.", old, new, schedule
        )


def is_same(run_dir: Path, config: DictConfig) -> bool:
    """Whether a run was made with this configuration; one that an older version made may not be readable any more."""
    try:
        return not differences(load_config(run_dir), config)
    except UserError:
        return False


def has_checkpoint(run_dir: Path) -> bool:
    return bool(list_checkpoints(run_dir / "checkpoints"))


def differences(before: DictConfig, now: DictConfig) -> dict[str, tuple[Any, Any]]:
    """The keys that differ between two configurations, those that may left out."""
    old, new = (flatten(OmegaConf.to_container(config, resolve=True)) for config in (before, now))  # type: ignore[arg-type]
    return {
        key: (old.get(key), new.get(key))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not any(key == free or key.startswith(f"{free}.") for free in FREE)
    }
