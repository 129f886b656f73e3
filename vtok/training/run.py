"""A whole run: from a configuration to a run folder with a trained model and its figures."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader

from vtok.batch import Batch
from vtok.build import build, build_dataset, build_model, build_optimiser, build_scheduler
from vtok.config import check
from vtok.data import BadFiles, Clip, DataSource, EpochSampler
from vtok.errors import UserError
from vtok.evaluation import Evaluation, evaluate_heldout
from vtok.model import VideoLanguageModel
from vtok.runs import open_run, read_status, shown, write_status, write_summary
from vtok.tracking import Tracker
from vtok.training.checkpoint import digest, latest_checkpoint, load_training, trained_weights
from vtok.training.conversation import Collate, Guarded
from vtok.training.interrupt import Interrupt
from vtok.training.report import SHEET, SHEET_CLIPS, describe_run, peak_memory_mb, tell, write_sheet
from vtok.training.resume import has_checkpoint, run_to_resume
from vtok.training.trainer import Progress, Trainer

log = logging.getLogger("vtok")


class Stopped(Exception):
    """The run was told to stop, saved, and can be resumed. `signal` is the signal's number."""

    def __init__(self, run_dir: Path, signal: int) -> None:
        super().__init__(f"stopped by signal {signal} and saved; go on with resume={shown(run_dir)}")
        self.signal = signal


@dataclass(frozen=True)
class Run:
    """What a run is made of."""

    config: DictConfig
    run_dir: Path
    trainer: Trainer
    accelerator: Accelerator
    model: VideoLanguageModel
    source: DataSource
    clips: dict[str, list[Clip]]
    tracker: Tracker
    bad_files: BadFiles

    def check_bad(self) -> None:
        """Raises UserError where more files are broken than are allowed."""
        total = sum(len(self.source.all_clips(split)) for split in ("train", "heldout")) + len(self.source.bad)
        self.bad_files.check(total, self.source.max_bad_fraction)

    def evaluate(self) -> Evaluation:
        """The benchmark on the held-out clips, in the precision of the training."""
        result = evaluate_heldout(
            build(self.config.evaluation),
            self.model,
            self.source,
            self.clips["heldout"],
            precision=self.accelerator.autocast(),
            examples=SHEET_CLIPS,
        )
        self.bad_files.add(result.bad)
        self.check_bad()
        return result


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
    run_dir = resumed or run_dir or Path(config.outputs) / "runs" / time.strftime("%Y-%m-%d_%H-%M-%S")
    if resumed is None and has_checkpoint(run_dir):
        raise UserError(
            f"{shown(run_dir)} holds a run already: go on with it by resume={shown(run_dir)}, or name another folder."
        )
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
    run = Run(config, run_dir, trainer, accelerator, model, source, clips, build(config.tracking), BadFiles())
    known_run = read_status(run_dir).get("mlflow_run_id") if resumed else None
    run_dir.mkdir(parents=True, exist_ok=True)
    with locked(run_dir), log_file(run_dir / "train.log"), Interrupt() as interrupt, recorded(run.tracker, run_dir):
        open_run(run_dir, config, overrides or [])
        run.tracker.start(
            run_dir,
            OmegaConf.to_container(config, resolve=True),  # type: ignore[arg-type]
            overrides or [],
            config.name or run_name(overrides or []),
            sweep_dir / "mlflow_parent.json" if sweep_dir and (sweep_dir / "mlflow_parent.json").is_file() else None,
            known_run,
        )
        write_status(run_dir, "running", run.tracker.run_id)
        run.bad_files.add(source.bad.items())
        figures = describe_run(model, source, clips)
        progress = run_training(run, interrupt, resumed is not None)
        figures |= {
            "steps": progress.steps,
            "seconds_per_step": progress.seconds_per_step,
            "data/bad_files": run.bad_files.count,
            "digest/trained": digest(trained_weights(model)),
        }
        if progress.stopped_by is not None:
            write_summary(run_dir, figures)
            write_status(run_dir, "stopped", run.tracker.run_id)
            raise Stopped(run_dir, progress.stopped_by)
        result = run.evaluate()
        figures |= result.metrics() | {
            "data/bad_files": run.bad_files.count,
            "seconds": time.time() - began,
            "peak_memory_mb": peak_memory_mb(),
        }
        finish(run, result, figures)
    return figures


def run_training(run: Run, interrupt: Interrupt, resumed: bool) -> Progress:
    """Optimiser, schedule, data from where the run stands, and the loop."""
    run.model.to(run.accelerator.device)
    optimiser = build_optimiser(run.config, run.model)
    scheduler = build_scheduler(run.config, optimiser)
    first_step = 0
    if resumed:
        checkpoint = latest_checkpoint(run.run_dir)
        first_step = load_training(checkpoint, model=run.model, optimiser=optimiser, scheduler=scheduler)
        log.info("resumed from %s", shown(checkpoint))

    def evaluate(step: int) -> None:
        result = run.evaluate()
        run.tracker.metrics(result.metrics(), step)
        log.info("step %d\n%s", step, result.table())

    return run.trainer.fit(
        accelerator=run.accelerator,
        model=run.model,
        batches=training_batches(run, first_step=first_step),
        optimiser=optimiser,
        scheduler=scheduler,
        first_step=first_step,
        tracker=run.tracker,
        bad_files=run.bad_files,
        check_bad=run.check_bad,
        evaluate=evaluate,
        interrupt=interrupt,
        run_dir=run.run_dir,
    )


def training_batches(run: Run, *, first_step: int) -> Iterator[Batch]:
    """Endless batches, from the one that follows `first_step` optimiser steps.

    Raises:
        UserError: what went wrong in a process that decodes.
    """
    seed, trainer, source, clips = run.config.seed, run.trainer, run.source, run.clips["train"]
    mllm, planner = run.model.mllm, run.model.tokeniser.planner
    done = first_step * trainer.accumulate * source.batch_size
    loader = DataLoader(
        Guarded(build_dataset(source, clips, planner, seed=seed, replace_bad=True)),
        batch_size=source.batch_size,
        sampler=EpochSampler(len(clips), seed=seed, start=done),
        num_workers=source.num_workers,
        collate_fn=Collate(
            mllm.chat, planner, mllm.context_length, trainer.questions_per_clip, trainer.yes_no_share, seed
        ),
        # Its own, so that making a loader draws nothing from the run's random numbers.
        generator=torch.Generator().manual_seed(seed),
    )
    for batch in loader:
        if isinstance(batch, UserError):
            raise batch
        yield batch


def finish(run: Run, result: Evaluation, figures: dict[str, Any]) -> None:
    """Write, log and tell the end of a run."""
    write_summary(run.run_dir, figures)
    write_sheet(result, run.run_dir / SHEET)
    numbers = {name: float(value) for name, value in figures.items() if isinstance(value, int | float)}
    run.tracker.metrics(numbers, figures["steps"])
    for file in ("summary.json", SHEET, "train.log"):
        if (run.run_dir / file).exists():
            run.tracker.artifact(run.run_dir / file, "")
    write_status(run.run_dir, "finished", run.tracker.run_id)
    tell(result, figures, run.run_dir, run.tracker)


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """One process at a time trains in a run folder.

    Raises:
        UserError: another one does.
    """
    lock = FileLock(run_dir / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"{shown(run_dir)}: another process is training in this run folder.") from error
    try:
        yield
    finally:
        lock.release()


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
