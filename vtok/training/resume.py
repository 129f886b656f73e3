"""Which run to resume, whether it may be resumed, and its state."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from vtok.common.distributed import rank, world_size
from vtok.common.errors import UserError
from vtok.common.nested import flatten
from vtok.config.compose import one_of
from vtok.config.moved import moved
from vtok.runs.folder import find_run, listed_runs, load_config, read_status, read_summary, shown, status_of
from vtok.training.checkpoint import (
    latest_checkpoint,
    list_checkpoints,
    load_average,
    load_training,
    read_state,
    sweep_up,
)
from vtok.training.loop import Start

if TYPE_CHECKING:
    from vtok.training.run import TrainingRun

log = logging.getLogger(__name__)

# What may change between a run and its continuation without making it another experiment.
FREE = (
    "resume", "name", "optimise", "outputs", "allowed_targets", "tracking", "evaluation", "generation",
    "loader.num_workers", "data.make_workers", "trainer.max_steps", "trainer.log_every",
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
    "loader.num_workers",
    "data.make_workers",
    "trainer.progress",
)


# What is free of a data set is free of each source of a mixture.
OF_SOURCE = re.compile(r"^data\.sources\.[^.]+")
# All data sets are read by `clip` (`check_clip`), which is compared itself.
COPY = "data.clip"


def run_to_resume(config: DictConfig) -> Path | None:
    """The run folder that `resume` means; None where a new run is to begin.

    `resume=auto` is the newest run of the same configuration that was stopped, killed or failed after a checkpoint, or
    none; `resume=latest` or a path is that run, whatever became of it. Keys of `resume.allow` may differ.

    Raises:
        UserError: there is no such run, it has no checkpoint, or it was made with another configuration or optimiser.
    """
    path = config.resume.path
    if path is None:
        return None
    check_allowed(config)
    if path == "auto":
        unfinished = (run for run in listed_runs(config.outputs) if status_of(run) != "finished")
        fitting = [run for run in unfinished if has_checkpoint(run) and is_same(run, config)]
        if fitting:
            check_optimiser(fitting[-1], load_config(fitting[-1]), config)
        return fitting[-1] if fitting else None
    run_dir = find_run(path, config.outputs, setting="resume")
    saved = load_config(run_dir)
    check_optimiser(run_dir, saved, config)
    if changed := differences(saved, config):
        listed = "; ".join(f"{key} was {before}, is {now}" for key, (before, now) in list(changed.items())[:5])
        raise UserError(
            f"resume={path}: that run was made with another configuration ({listed}). Give the same overrides, "
            f"or allow the change by 'resume.allow=[{','.join(list(changed)[:5])}]'."
        )
    if not has_checkpoint(run_dir):
        raise UserError(f"resume={path}: {run_dir} has no checkpoint to go on from.")
    warn_of_length(saved, config)
    return run_dir


def check_allowed(config: DictConfig) -> None:
    """Raise UserError where `resume.allow` names what is no key."""
    keys = flatten(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    for allowed in config.resume.allow:
        if not any(key == allowed or key.startswith(f"{allowed}.") for key in keys):
            if (new := moved(allowed)) is not None:
                raise UserError(f"resume.allow: the key {allowed} has moved. Use {new}.")
            groups = {key.split(".")[0] for key in keys}
            raise UserError(f"resume.allow: there is no key {allowed}. {one_of(allowed, sorted(groups | set(keys)))}")


def check_optimiser(run_dir: Path, saved: DictConfig, config: DictConfig) -> None:
    """Raise UserError where another optimiser is to resume the run: none can use the state of another."""
    before, now = (str(one.optimiser.get("_target_")) for one in (saved, config))
    if before != now:
        raise UserError(
            f"optimiser._target_={now}: {shown(run_dir)} was trained by {before}, and an optimiser cannot use the "
            "state of another. Resume with that optimiser, or begin a new run: resume=null."
        )


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
            "trainer.max_steps was %d, is %d: the learning rate (%s) continues as if it had always been %d.",
            old, new, schedule, new,
        )  # fmt: skip


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
        if old.get(key) != new.get(key)
        and not (is_named(key, free) or is_named(OF_SOURCE.sub("data", key), (*free, COPY)))
    }


def is_named(key: str, names: Sequence[str]) -> bool:
    """Whether a key is among names, or in a part of the configuration that is."""
    return any(key == name or key.startswith(f"{name}.") for name in names)


def restore(run: "TrainingRun", *, allowed: Sequence[str]) -> Start:
    """Load the newest checkpoint of a run into what was just built, whose settings stay; returns where it stands.

    Of the run folder only what a killed process left half-written is changed. `allowed`: keys of `resume.allow`.

    Raises:
        UserError: the checkpoint does not fit.
    """
    if run.is_main:
        for left in sweep_up(run.run_dir / "checkpoints"):
            log.warning("%s was not finished and is removed", shown(left))
    checkpoint = latest_checkpoint(run.run_dir)
    start = start_of(checkpoint, before=load_config(run.run_dir), processes=world_size())
    load_training(
        checkpoint,
        model=run.model,
        optimiser=run.optimiser,
        scheduler=run.scheduler,
        rank=rank(),
        processes=world_size(),
        other_number=is_named("trainer.processes", allowed),
        seed=run.seed,
        device=run.accelerator.device,
    )
    if run.ema:
        run.ema.load(load_average(checkpoint, run.model))
    log.info("resumed from %s", shown(checkpoint))
    return start


def start_of(checkpoint: Path, *, before: DictConfig, processes: int) -> Start:
    """Where a run of so many processes resumes from a checkpoint, whatever its batch size is now.

    `before`: the configuration that saved the checkpoint. It is warned that another number of processes is not exact.
    """
    state = read_state(checkpoint)
    step, saved_by, samples = int(state["step"]), int(state["processes"]), state.get("samples")
    if samples is None:
        # Earlier versions noted it only after a change of the number of processes.
        samples = step * saved_by * before.trainer.accumulate * before.loader.batch_size
    if saved_by != processes:
        log.warning(
            "%s was saved by %d processes and is resumed by %d: the order of the clips continues after %d of them, "
            "but nothing is bit for bit what %d would have made.",
            checkpoint, saved_by, processes, samples, saved_by,
        )  # fmt: skip
    return Start(step=step, samples=samples)
