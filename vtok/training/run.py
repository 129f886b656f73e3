"""A whole run: from a configuration to a run folder with a trained model and its figures."""

import logging
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from vtok.common.distributed import gathered
from vtok.common.errors import UserError
from vtok.common.overrides import command, override
from vtok.config.check import check
from vtok.data import BadFiles, DataSource, LoaderSettings
from vtok.evaluation import Alignment, Generation, check_files
from vtok.evaluation.results import Results
from vtok.feature_cache import check_clips
from vtok.model.build import build, build_model, build_optimiser, build_scheduler
from vtok.runs.folder import open_run, read_status, shown, write_status, write_summary
from vtok.tracking import Tracker
from vtok.tracking.none import NoTracker
from vtok.training.active_run import Run
from vtok.training.batches import training_batches
from vtok.training.checkpoint import digest, persistent_buffers, saved_tensors
from vtok.training.compile import check_compiler
from vtok.training.distributed import settle
from vtok.training.ema import Ema
from vtok.training.interrupt import Interrupt
from vtok.training.loop import Progress, Start, Trainer
from vtok.training.resume import has_checkpoint, restore, run_to_resume
from vtok.training.run_log import Stopped, occupied, recorded
from vtok.training.summary import describe_run, peak_memory_mb, run_name, tell

log = logging.getLogger("vtok")

CLIPS_LOOKED_AT = 10_000


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
    trainer: Trainer = build(config.trainer)
    accelerator = trainer.accelerator()
    if trainer.compile:
        check_compiler(accelerator.device)
    first = accelerator.is_main_process
    resumed = run_to_resume(config)
    run_dir = resumed or run_dir or Path(config.outputs) / "runs" / time.strftime("%Y-%m-%d_%H-%M-%S")
    # Clocks and folders are looked at by each process, and may have changed in between.
    resumed, run_dir = gathered((resumed, run_dir))[0]
    if resumed is None and has_checkpoint(run_dir):
        resume = command(override("resume", shown(run_dir)))
        raise UserError(f"{shown(run_dir)} holds a run already: go on with it by {resume}, or name another folder.")
    # The model first: weights that are missing are to be told before any clip is made.
    model = build_model(config)
    settle(accelerator, seed=config.seed, sharing=trainer.parallel.name)
    alignment: Alignment = build(config.evaluation)
    generation: Generation = build(config.generation)
    if model.decodes:
        generation.judge.prepare()
    source: DataSource = build(config.data)
    loader: LoaderSettings = build(config.loader)
    with accelerator.main_process_first():
        source.prepare()
    clips = {split: source.clips(split) for split in ("train", "heldout")}
    for split, found in clips.items():
        if not found:
            raise UserError(
                f"the data set has no {split} clips: {len(clips['train'])} train, {len(clips['heldout'])} held out."
            )
    check_clips(source)
    # Of larger data sets the rest is looked at as it is read.
    source.check_texts(CLIPS_LOOKED_AT)
    judged = (alignment if model.objective.understands else generation).max_clips
    missing = check_files(source, clips["heldout"][:judged])
    if model.objective.generates and not any(clip.caption for clip in clips["train"]):
        raise UserError("no training clip has a caption, and the generation branch learns from captions alone.")
    tracker: Tracker = build(config.tracking) if first else NoTracker()
    trainer.parallel.place(model, accelerator)
    optimiser = build_optimiser(config, model)
    scheduler = build_scheduler(config, optimiser)
    ema = None if trainer.ema_decay is None else Ema(model, decay=trainer.ema_decay)
    known_run = read_status(run_dir).get("mlflow_run_id") if resumed else None
    run_dir.mkdir(parents=True, exist_ok=True)
    with Interrupt() as interrupt, ExitStack() as folder:
        if first:
            folder.enter_context(occupied(run_dir))
        start = Start(step=0, samples=0)
        if resumed:
            # Before the new configuration is written: where this is refused, the run stays as it was.
            start = restore(
                run_dir,
                config,
                model=model,
                optimiser=optimiser,
                scheduler=scheduler,
                ema=ema,
                device=accelerator.device,
            )
        if first:
            folder.enter_context(recorded(tracker, run_dir))
            open_run(run_dir, config, overrides or [])
        tracker.start(
            run_dir,
            OmegaConf.to_container(config, resolve=True),  # type: ignore[arg-type]
            overrides or [],
            config.name or run_name(overrides or []),
            sweep_dir / "mlflow_parent.json" if sweep_dir and (sweep_dir / "mlflow_parent.json").is_file() else None,
            known_run,
        )
        if first:
            write_status(run_dir, "running", tracker.run_id, tracker.uri)
        total = len(source.all_clips("train")) + len(source.all_clips("heldout")) + len(source.bad)
        bad_files = BadFiles(clips=total, max_fraction=loader.max_bad_fraction)
        run = Run(
            config=config,
            run_dir=run_dir,
            trainer=trainer,
            accelerator=accelerator,
            model=model,
            ema=ema,
            source=source,
            loader=loader,
            clips=clips,
            tracker=tracker,
            bad_files=bad_files,
            alignment=alignment,
            generation=generation,
        )
        run.bad_files.add([*source.bad.items(), *missing])
        if missing:
            run.bad_files.check()
        figures = describe_run(model, source, clips)
        progress = run_training(run, optimiser=optimiser, scheduler=scheduler, start=start, interrupt=interrupt)
        figures |= {
            "steps": progress.steps,
            "seconds_per_step": progress.seconds_per_step,
            "data/bad_files": run.bad_files.count,
            "digest/trained": digest(saved_tensors(model)),
        }
        if ema:
            figures["digest/ema"] = digest(ema.state() | persistent_buffers(model))
        if progress.stopped_by is not None:
            if first:
                write_summary(run_dir, figures)
                write_status(run_dir, "stopped", tracker.run_id, tracker.uri)
            raise Stopped(run_dir, progress.stopped_by)
        results = run.evaluate(whole=True)
        run.judge(results, progress.steps)
        figures |= results.metrics() | {
            "data/bad_files": run.bad_files.count,
            "seconds": time.time() - began,
            "peak_memory_mb": peak_memory_mb(),
        }
        if first:
            finish(run, results, figures)
    return figures


def run_training(
    run: Run, *, optimiser: torch.optim.Optimizer, scheduler: Any, start: Start, interrupt: Interrupt
) -> Progress:
    """Data from where the run stands, and the loop."""

    def evaluate(step: int) -> None:
        results = run.evaluate(whole=False)
        run.show(results, step)
        run.judge(results, step)

    return run.trainer.fit(
        accelerator=run.accelerator,
        model=run.model,
        batches=training_batches(
            trainer=run.trainer,
            model=run.model,
            source=run.source,
            loader=run.loader,
            clips=run.clips["train"],
            seed=run.config.seed,
            start=start,
        ),
        optimiser=optimiser,
        scheduler=scheduler,
        ema=run.ema,
        start=start,
        tracker=run.tracker,
        bad_files=run.bad_files,
        evaluate=evaluate,
        best=run.best,
        interrupt=interrupt,
        run_dir=run.run_dir,
    )


def finish(run: Run, results: Results, figures: dict[str, Any]) -> None:
    """Write, log and tell the end of a run."""
    write_summary(run.run_dir, figures)
    sheets = results.write_sheets(run.run_dir)
    numbers = {name: float(value) for name, value in figures.items() if isinstance(value, int | float)}
    run.tracker.metrics(numbers, figures["steps"])
    for file in (run.run_dir / "summary.json", *sheets, run.run_dir / "train.log"):
        run.tracker.artifact(file, "")
    if results.has_videos:
        results.write_samples(run.run_dir / "samples" / "last", fps=run.rate)
        run.tracker.artifact(run.run_dir / "samples" / "last", "samples/last")
    write_status(run.run_dir, "finished", run.tracker.run_id, run.tracker.uri)
    tell(results, sheets, figures, run.run_dir, run.tracker)
    run.tracker.log_model(run.run_dir, figures["steps"])
