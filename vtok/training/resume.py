"""Which run to resume, whether it may be resumed, and its state."""

import logging
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vtok.common.distributed import rank, world_size
from vtok.common.errors import UserError
from vtok.common.nested import flatten
from vtok.common.overrides import command, override
from vtok.config.compose import one_of
from vtok.runs.folder import find_run, listed_runs, load_config, read_status, read_summary, shown, status_of
from vtok.training.checkpoint import (
    latest_checkpoint,
    list_checkpoints,
    load_average,
    load_training,
    read_state,
    remove_unfinished,
)
from vtok.training.loop import Start
from vtok.training.training_run import TrainingRun

log = logging.getLogger(__name__)

# Keys that may change when a run is resumed.
MAY_CHANGE = (
    "resume", "name", "optimise", "outputs", "allowed_targets", "tracking", "evaluation", "generation",
    "loader.num_workers", "loader.memory_mb", "loader.max_bad_fraction", "data.make_workers", "trainer.max_steps",
    "trainer.log_every", "trainer.evaluate_every", "trainer.save_every", "trainer.keep_checkpoints",
    "trainer.best_by", "trainer.best_is", "trainer.stop_loss", "trainer.processes",
    "trainer.progress", "trainer.profile_steps", "trainer.peak_tflops",
)  # fmt: skip
# In a sweep the user does not ask to resume a certain run. A longer one would continue where the schedule has ended.
MAY_CHANGE_IN_SWEEP = tuple(
    key
    for key in MAY_CHANGE
    if key
    not in ("trainer.max_steps", "trainer.stop_loss", "trainer.evaluate_every", "trainer.best_by", "trainer.best_is")
)
# Keys that do not affect the metrics of a run.
WITHOUT_EFFECT = (
    "resume",
    "name",
    "outputs",
    "allowed_targets",
    "tracking",
    "loader.num_workers",
    "loader.memory_mb",
    "data.make_workers",
    "trainer.progress",
)


# A key of a source, of a mixture or of twins, may change if the same key of a data set may.
SOURCE = re.compile(r"^data(\.source)?(\.sources\.[^.]+)?(?=\.)")
# A copy of `clip` (`check_clip`), which is compared itself.
CLIP_COPY = "data.clip"


def run_to_resume(config: DictConfig) -> Path | None:
    """The run folder that `resume` selects; None: a new run starts.

    `resume=auto` selects the newest run of the same configuration that was stopped, killed or failed after a
    checkpoint, or a new run. `resume=latest` or a path selects that run in any state. Keys of `resume.allow` may
    differ.

    Raises:
        UserError: the run does not exist, has no checkpoint, or has another configuration or optimiser.
    """
    path = config.resume.path
    if path is None:
        return None
    check_allowed(config)
    if path == "auto":
        unfinished = (run for run in listed_runs(config.outputs) if status_of(run) != "finished")
        matching = [run for run in unfinished if can_resume(run, config)]
        if not matching:
            return None
        saved = load_config(matching[-1])
        check_optimiser(matching[-1], saved, config)
        warn_of_length(saved, config)
        return matching[-1]
    run_dir = find_run(path, config.outputs, setting="resume")
    saved = load_config(run_dir)
    check_optimiser(run_dir, saved, config)
    if changed := differences(saved, config):
        raise UserError(
            f"resume={path}: the run has another configuration ({listed(changed)}). Give the same overrides, "
            f"or allow the change with 'resume.allow=[{','.join(list(changed)[:5])}]'."
        )
    if not has_checkpoint(run_dir):
        raise UserError(f"resume={path}: {run_dir} has no checkpoint. Start a new run: resume=null.")
    warn_of_length(saved, config)
    return run_dir


def refuse_used_folder(run_dir: Path, config: DictConfig, *, in_sweep: bool) -> None:
    """Raise UserError if the folder of a new run already has a run with a checkpoint."""
    if not has_checkpoint(run_dir):
        return
    if in_sweep and (changed := differences(load_config(run_dir), config, may_change=MAY_CHANGE_IN_SWEEP)):
        raise UserError(
            f"{shown(run_dir)} has a run with another configuration ({listed(changed)}). "
            "Delete the folder, or set outputs=FOLDER."
        )
    resume = command(override("resume", shown(run_dir)))
    raise UserError(f"{shown(run_dir)} already has a run. Resume it with {resume}, or use another folder.")


def listed(changed: Mapping[str, tuple[Any, Any]]) -> str:
    """The first changes of a configuration, for a message."""
    return "; ".join(f"{key} was {before}, is {now}" for key, (before, now) in list(changed.items())[:5])


def check_allowed(config: DictConfig) -> None:
    """Raise UserError if an entry of `resume.allow` is not a key of the configuration."""
    keys = flatten(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    for allowed in config.resume.allow:
        if not any(key == allowed or key.startswith(f"{allowed}.") for key in keys):
            groups = {key.split(".")[0] for key in keys}
            raise UserError(f"resume.allow: unknown key {allowed}. {one_of(allowed, sorted(groups | set(keys)))}")


def check_optimiser(run_dir: Path, saved: DictConfig, config: DictConfig) -> None:
    """Raise UserError if the run was trained with another optimiser, whose state this one cannot use."""
    before, now = (str(one.optimiser.get("_target_")) for one in (saved, config))
    if before != now:
        raise UserError(
            f"optimiser._target_={now}: {shown(run_dir)} was trained by {before}, and an optimiser cannot use the "
            "state of another one. Resume with that optimiser, or start a new run: resume=null."
        )


def metrics_of_finished(run_dir: Path, config: DictConfig) -> dict[str, Any] | None:
    """The metrics of a finished run of this configuration; None: the folder has no such run."""
    if read_status(run_dir).get("status") != "finished" or not is_same(run_dir, config, may_change=WITHOUT_EFFECT):
        return None
    return read_summary(run_dir)


def can_resume(run_dir: Path, config: DictConfig, *, may_change: Sequence[str] = MAY_CHANGE) -> bool:
    """Whether a folder has a run of this configuration, except for keys that may change, with a checkpoint."""
    return has_checkpoint(run_dir) and is_same(run_dir, config, may_change=may_change)


def warn_of_length(before: DictConfig, now: DictConfig) -> None:
    """Warn if the run has another length now and its schedule depends on the length."""
    old, new, schedule = before.trainer.max_steps, now.trainer.max_steps, str(now.scheduler.get("name"))
    if old != new and not schedule.startswith("constant"):
        log.warning(
            "trainer.max_steps was %d, is %d: the learning rate (%s) continues as if it had always been %d.",
            old, new, schedule, new,
        )  # fmt: skip


def is_same(run_dir: Path, config: DictConfig, *, may_change: Sequence[str] = MAY_CHANGE) -> bool:
    """Whether a run has this configuration, except for keys that may change."""
    try:
        return not differences(load_config(run_dir), config, may_change=may_change)
    except UserError:
        # The configuration may be of another version, or damaged.
        return False


def has_checkpoint(run_dir: Path) -> bool:
    return bool(list_checkpoints(run_dir / "checkpoints"))


def differences(
    before: DictConfig, now: DictConfig, *, may_change: Sequence[str] = MAY_CHANGE
) -> dict[str, tuple[Any, Any]]:
    """The values before and now of the keys that differ, except those in `may_change` and `resume.allow`."""
    old, new = (flatten(OmegaConf.to_container(config, resolve=True)) for config in (before, now))  # type: ignore[arg-type]
    allowed = (*may_change, *now.resume.allow)
    return {
        key: (old.get(key), new.get(key))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
        and not (is_in(key, allowed) or is_in(SOURCE.sub("data", key), (*allowed, CLIP_COPY)))
    }


def is_in(key: str, names: Sequence[str]) -> bool:
    """Whether a key, or a part of the configuration that it is in, is among names."""
    return any(key == name or key.startswith(f"{name}.") for name in names)


def restore(run: TrainingRun, *, allowed: Sequence[str]) -> Start:
    """Load the newest checkpoint of a run into its new model, optimiser and schedule, whose settings do not change.

    In the run folder only unfinished checkpoints are removed.

    Args:
        run: run that was just built.
        allowed: keys of `resume.allow`.

    Raises:
        UserError: the checkpoint does not fit.
    """
    if run.is_main:
        for unfinished in remove_unfinished(run.run_dir / "checkpoints"):
            log.warning("removed the unfinished checkpoint %s", shown(unfinished))
    checkpoint = latest_checkpoint(run.run_dir)
    start = resume_point(checkpoint, processes=world_size())
    load_training(
        checkpoint,
        model=run.model,
        optimiser=run.optimiser,
        scheduler=run.scheduler,
        rank=rank(),
        processes=world_size(),
        other_number=is_in("trainer.processes", allowed),
        seed=run.seed,
        device=run.accelerator.device,
    )
    if run.ema:
        run.ema.load(load_average(checkpoint, run.model))
    log.info("resumed from %s", shown(checkpoint))
    return start


def resume_point(checkpoint: Path, *, processes: int) -> Start:
    """The point at which a run resumes; warns if another number of processes saved it.

    Args:
        checkpoint: checkpoint folder.
        processes: number of processes now.
    """
    state = read_state(checkpoint)
    step, saved_by, samples = state["step"], state["processes"], state["samples"]
    if saved_by != processes:
        log.warning(
            "%s was saved by %d processes and is resumed by %d: the clips continue in order after the first %d, but "
            "the result is not bit for bit the same.",
            checkpoint, saved_by, processes, samples,
        )  # fmt: skip
    return Start(step=step, samples=samples, loss=state.get("loss", math.inf))
