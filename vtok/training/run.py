"""A whole run: from a configuration to a run folder with a trained model and its figures."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader

from vtok.batch import Batch
from vtok.build import build, build_dataset, build_model, build_optimiser, build_scheduler
from vtok.config import check
from vtok.data import BadFiles, Clip, DataSource, EpochSampler
from vtok.errors import UserError
from vtok.evaluation import Alignment, Evaluation, heldout_loader
from vtok.model import VideoLanguageModel
from vtok.runs import open_run, read_status, shown, write_status, write_summary
from vtok.tracking import Tracker
from vtok.training.checkpoint import digest, latest_checkpoint, load_training, trained_weights
from vtok.training.conversation import Collate, Guarded
from vtok.training.report import SHEET, SHEET_CLIPS, describe_run, peak_memory_mb, tell, write_sheet
from vtok.training.resume import run_to_resume
from vtok.training.trainer import Progress, Trainer

log = logging.getLogger("vtok")


class Stopped(Exception):
    """The run was told to stop, saved, and can be resumed. `signal` is the signal's number."""

    def __init__(self, run_dir: Path, signal: int) -> None:
        super().__init__(f"stopped by signal {signal} and saved; go on with resume={shown(run_dir)}")
        self.signal = signal


def train(
    config: DictConfig,
    *,
    run_dir: Path | None = None,
    overrides: list[str] | None = None,
    sweep_dir: Path | None = None,
) -> dict[str, Any]:
    """Train, evaluate and write a run folder; what `python train.py` does.

    Args:
        config: as `vtok.config.compose` returns it.
        run_dir: where the run folder is to be; a new one below `outputs` where None. A resumed run keeps its own.
        overrides: what the configuration was composed with, for the record.
        sweep_dir: of the sweep that the run is part of.

    Returns:
        The figures of `summary.json`.

    Raises:
        UserError: something the user can mend.
        Stopped: SIGINT or SIGTERM; the run was saved.
    """
    check(config)
    began = time.time()
    resumed = run_to_resume(config)
    trainer: Trainer = build(config.trainer)
    accelerator = trainer.accelerator()
    if accelerator.num_processes > 1:
        raise UserError(
            "training in several processes is not there yet: start one process, without torchrun or accelerate launch."
        )
    # The model first: weights that are missing are to be told before any clip is made.
    model = build_model(config)
    source: DataSource = build(config.data)
    source.prepare()
    clips = {split: source.clips(split) for split in ("train", "heldout")}
    for split, found in clips.items():
        if not found:
            raise UserError(
                f"the data set has no {split} clips: {len(clips['train'])} train, {len(clips['heldout'])} held out."
            )
    tracker: Tracker = build(config.tracking)

    run_dir = resumed or run_dir or Path(config.outputs) / "runs" / time.strftime("%Y-%m-%d_%H-%M-%S")
    known_run = read_status(run_dir).get("mlflow_run_id") if resumed else None
    open_run(run_dir, config, overrides or [])
    with log_file(run_dir / "train.log"), recorded(tracker, run_dir):
        tracker.start(
            run_dir,
            OmegaConf.to_container(config, resolve=True),  # type: ignore[arg-type]
            overrides or [],
            config.name or run_name(overrides or []),
            sweep_dir / "mlflow_parent.json" if sweep_dir and (sweep_dir / "mlflow_parent.json").is_file() else None,
            known_run,
        )
        write_status(run_dir, "running", tracker.run_id)
        figures = describe_run(model, source, clips)
        bad_files = BadFiles()
        bad_files.add(source.bad.items())
        progress = run_training(
            config, trainer, accelerator, model, source, clips, tracker, bad_files, run_dir, resumed is not None
        )
        figures |= {
            "steps": progress.steps,
            "seconds_per_step": progress.seconds_per_step,
            "data/bad_files": bad_files.count,
            "digest/trained": digest(trained_weights(model)),
        }
        if progress.stopped_by is not None:
            write_summary(run_dir, figures)
            write_status(run_dir, "stopped", tracker.run_id)
            raise Stopped(run_dir, progress.stopped_by)
        result = evaluate_heldout(config, model, source, clips["heldout"], bad_files)
        figures |= result.metrics() | {
            "data/bad_files": bad_files.count,
            "seconds": time.time() - began,
            "peak_memory_mb": peak_memory_mb(),
        }
        write_summary(run_dir, figures)
        write_sheet(result, run_dir / SHEET)
        numbers = {name: float(value) for name, value in figures.items() if isinstance(value, int | float)}
        tracker.metrics(numbers, progress.steps)
        for file in ("summary.json", SHEET, "train.log"):
            if (run_dir / file).exists():
                tracker.artifact(run_dir / file, "")
        write_status(run_dir, "finished", tracker.run_id)
        tell(result, figures, run_dir, tracker)
    return figures


def run_training(
    config: DictConfig,
    trainer: Trainer,
    accelerator: Accelerator,
    model: VideoLanguageModel,
    source: DataSource,
    clips: dict[str, list[Clip]],
    tracker: Tracker,
    bad_files: BadFiles,
    run_dir: Path,
    resumed: bool,
) -> Progress:
    """Optimiser, schedule, data from where the run stands, and the loop."""
    model.to(accelerator.device)
    optimiser = build_optimiser(config, model)
    scheduler = build_scheduler(config, optimiser)
    first_step = 0
    if resumed:
        checkpoint = latest_checkpoint(run_dir)
        first_step = load_training(checkpoint, model=model, optimiser=optimiser, scheduler=scheduler)
        log.info("resumed from %s", checkpoint)
    batches = training_batches(config, trainer, model, source, clips["train"], first_step=first_step)
    total = len(clips["train"]) + len(clips["heldout"]) + len(source.bad)

    def evaluate(step: int) -> None:
        result = evaluate_heldout(config, model, source, clips["heldout"], bad_files)
        tracker.metrics(result.metrics(), step)
        log.info("step %d\n%s", step, result.table())

    return trainer.fit(
        accelerator=accelerator,
        model=model,
        batches=batches,
        optimiser=optimiser,
        scheduler=scheduler,
        first_step=first_step,
        tracker=tracker,
        bad_files=bad_files,
        check_bad=lambda: bad_files.check(total, source.max_bad_fraction),
        evaluate=evaluate,
        run_dir=run_dir,
    )


def training_batches(
    config: DictConfig,
    trainer: Trainer,
    model: VideoLanguageModel,
    source: DataSource,
    clips: list[Clip],
    *,
    first_step: int,
) -> Iterator[Batch]:
    """Endless batches, from the one that follows `first_step` optimiser steps."""
    planner = model.tokeniser.planner
    loader = DataLoader(
        Guarded(build_dataset(source, clips, planner, seed=config.seed, replace_bad=True)),
        batch_size=source.batch_size,
        sampler=EpochSampler(len(clips), seed=config.seed, start=first_step * trainer.accumulate * source.batch_size),
        num_workers=source.num_workers,
        collate_fn=Collate(model.mllm.chat, planner, trainer.questions_per_clip, trainer.yes_no_share, config.seed),
        # Its own, so that making a loader draws nothing from the run's random numbers.
        generator=torch.Generator().manual_seed(config.seed),
    )
    for batch in loader:
        if isinstance(batch, UserError):
            raise batch
        yield batch


def evaluate_heldout(
    config: DictConfig, model: VideoLanguageModel, source: DataSource, clips: list[Clip], bad_files: BadFiles
) -> Evaluation:
    """The benchmark on the held-out clips; broken ones are noted and left out."""
    alignment: Alignment = build(config.evaluation)
    dataset = build_dataset(
        source, clips[: alignment.max_clips], model.tokeniser.planner, seed=config.seed, replace_bad=False
    )
    loader = heldout_loader(dataset, batch_size=alignment.batch_size, num_workers=source.num_workers)
    result = alignment(model, loader, examples=SHEET_CLIPS)
    bad_files.add(result.bad)
    return result


@contextmanager
def recorded(tracker: Tracker, run_dir: Path) -> Iterator[None]:
    """Closes the tracker and notes how the run ended, however it does."""
    try:
        yield
    except Stopped:
        tracker.finish("KILLED")
        raise
    except BaseException:
        log.debug("the run failed", exc_info=True)
        write_status(run_dir, "failed", tracker.run_id)
        tracker.finish("FAILED")
        raise
    tracker.finish("FINISHED")


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """All that the package logs, in a file as well; a resumed run goes on in the same file."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()


def run_name(overrides: list[str]) -> str | None:
    """The overrides that say what a run is about; None, so that MLflow makes one up, where there are none."""
    told = [item for item in overrides if not item.startswith(("hydra", "outputs", "tracking", "resume"))]
    return " ".join(told)[:200] or None
