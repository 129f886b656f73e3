"""Which run to go on with, and whether it may be gone on with."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vtok.config.compose import one_of
from vtok.errors import UserError
from vtok.runs import find_run, listed_runs, load_config, read_status, read_summary
from vtok.tracking.runs import flatten
from vtok.training.checkpoint import list_checkpoints, read_state
from vtok.training.trainer import Start

log = logging.getLogger(__name__)

# What may change between a run and its continuation without making it another experiment.
FREE = (
    "resume", "name", "optimise", "outputs", "allowed_targets", "tracking", "evaluation", "generation",
    "data.num_workers", "data.make_workers", "trainer.max_steps", "trainer.log_every",
    "trainer.evaluate_every", "trainer.save_every",
    "trainer.keep_checkpoints", "trainer.best_by", "trainer.best_is", "trainer.processes",
    "trainer.progress", "trainer.profile_steps", "trainer.peak_tflops",
)  # fmt: skip
# What may change between two runs whose figures are the same.
NO_MATTER = (
    "resume",
    "name",
    "optimise",
    "outputs",
    "allowed_targets",
    "tracking",
    "data.num_workers",
    "data.make_workers",
    "trainer.progress",
)


# What is free of a data set is free of each source of a mixture.
OF_SOURCE = re.compile(r"^data\.sources\.[^.]+")


def run_to_resume(config: DictConfig) -> Path | None:
    """The run folder that `resume` means; None where a new run is to begin.

    `resume=auto` is the newest run of the same configuration that was stopped, killed or failed after a checkpoint, or
    none; `resume=latest` or a path is that run, whatever became of it. Keys of `resume.allow` may differ.

    Raises:
        UserError: there is no such run, it has no checkpoint, or it was made with another configuration.
    """
    path = config.resume.path
    if path is None:
        return None
    check_allowed(config)
    if path == "auto":
        unfinished = (run for run in listed_runs(config.outputs) if read_status(run).get("status") != "finished")
        fitting = [run for run in unfinished if has_checkpoint(run) and is_same(run, config)]
        return fitting[-1] if fitting else None
    run_dir = find_run(path, config.outputs)
    if changed := differences(load_config(run_dir), config):
        listed = "; ".join(f"{key} was {before}, is {now}" for key, (before, now) in list(changed.items())[:5])
        raise UserError(
            f"resume={path}: that run was made with another configuration ({listed}). Give the same overrides, "
            f"or allow the change by 'resume.allow=[{','.join(list(changed)[:5])}]'."
        )
    if not has_checkpoint(run_dir):
        raise UserError(f"resume={path}: {run_dir} has no checkpoint to go on from.")
    warn_of_length(load_config(run_dir), config)
    return run_dir


def check_allowed(config: DictConfig) -> None:
    """Raise UserError where `resume.allow` names what is no key."""
    keys = flatten(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    for allowed in config.resume.allow:
        if not any(key == allowed or key.startswith(f"{allowed}.") for key in keys):
            groups = {key.split(".")[0] for key in keys}
            raise UserError(f"resume.allow: there is no key {allowed}. {one_of(allowed, sorted(groups | set(keys)))}")


def figures_of_finished(run_dir: Path, config: DictConfig) -> dict[str, Any] | None:
    """The figures of a folder's run where it has finished and is of this configuration, else None."""
    if read_status(run_dir).get("status") != "finished" or not is_same(run_dir, config, free=NO_MATTER):
        return None
    return read_summary(run_dir)


def goes_on(run_dir: Path, config: DictConfig) -> bool:
    """Whether a folder holds a run of this configuration that was cut off after a checkpoint."""
    return has_checkpoint(run_dir) and is_same(run_dir, config)


def warn_of_length(before: DictConfig, now: DictConfig) -> None:
    """A schedule that ends with the run is another schedule when the run ends elsewhere."""
    old, new, schedule = before.trainer.max_steps, now.trainer.max_steps, str(now.scheduler.get("name"))
    if old != new and not schedule.startswith("constant"):
        log.warning(
            "trainer.max_steps was %d, is %d: the learning rate (%s) goes on as if it had been so.", old, new, schedule
        )


def is_same(run_dir: Path, config: DictConfig, *, free: Sequence[str] = FREE) -> bool:
    """Whether a run was made with this configuration, keys that are `free` apart.

    One that an older version made may not be readable any more.
    """
    try:
        return not differences(load_config(run_dir), config, free=free)
    except UserError:
        return False


def has_checkpoint(run_dir: Path) -> bool:
    return bool(list_checkpoints(run_dir / "checkpoints"))


def differences(before: DictConfig, now: DictConfig, *, free: Sequence[str] = FREE) -> dict[str, tuple[Any, Any]]:
    """The keys that differ between two configurations, those that may left out: `free` ones and those allowed."""
    old, new = (flatten(OmegaConf.to_container(config, resolve=True)) for config in (before, now))  # type: ignore[arg-type]
    free = (*free, *now.resume.allow)
    return {
        key: (old.get(key), new.get(key))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not (is_named(key, free) or is_named(OF_SOURCE.sub("data", key), free))
    }


def is_named(key: str, names: Sequence[str]) -> bool:
    """Whether a key is among names, or in a part of the configuration that is."""
    return any(key == name or key.startswith(f"{name}.") for name in names)


def start_of(checkpoint: Path, *, processes: int, samples_per_step: int) -> Start:
    """Where a run of so many processes, each of which takes so many samples a step, goes on from a checkpoint.

    One that another number of processes saved goes on from the number of samples that those had, all of them together;
    it is warned that this is not exact.
    """
    state = read_state(checkpoint)
    step, before, samples = int(state["step"]), int(state["processes"]), state.get("samples")
    if before != processes:
        if samples is None:
            samples = step * before * samples_per_step
        log.warning(
            "%s was saved by %d processes and is gone on with by %d: the order of the clips goes on after %d of them, "
            "but nothing is bit for bit what %d would have made.",
            checkpoint, before, processes, samples, before,
        )  # fmt: skip
    return Start(step=step, samples=samples)
