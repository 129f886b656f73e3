"""A training run: what it is made of, and its way from a configuration to a run folder with a trained model."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from omegaconf import DictConfig, OmegaConf

from vtok.common.distributed import gathered
from vtok.common.errors import UserError
from vtok.common.overrides import command, override
from vtok.config.check import check
from vtok.data import BadFiles, Clip, DataSource, LoaderSettings
from vtok.data.video.write import RATES
from vtok.decoder import Decoder
from vtok.evaluation import Alignment, Generation
from vtok.evaluation.results import Results, evaluate_model
from vtok.model import VideoLanguageModel
from vtok.model.build import build, build_model, build_optimiser, build_scheduler
from vtok.runs.folder import open_run, read_status, shown, write_status
from vtok.tracking import Tracker
from vtok.tracking.none import NoTracker
from vtok.training.batches import training_batches
from vtok.training.best_checkpoint import Best
from vtok.training.clips import prepare_clips
from vtok.training.compile import check_compiler, eager
from vtok.training.distributed import settle
from vtok.training.ema import Ema
from vtok.training.interrupt import Interrupt
from vtok.training.loop import Start, fit
from vtok.training.resume import has_checkpoint, restore, run_to_resume
from vtok.training.run_log import Stopped, occupied, recorded
from vtok.training.summary import describe_run, final_figures, finish, run_name, training_figures, write_stopped
from vtok.training.trainer import Trainer

log = logging.getLogger("vtok")

SHEET_CLIPS = 12


@dataclass(frozen=True)
class TrainingRun:
    """What a run is made of.

    Attributes:
        run_dir: run folder.
        seed: seed of the order of the clips and of what is drawn for each of them.
        trainer: settings of the loop.
        accelerator: device, precision and processes.
        model: model, placed on the device.
        optimiser: optimiser over what is trained.
        scheduler: schedule of its learning rate.
        ema: moving average of the trained weights, if there is one.
        source: where clips come from.
        loader: settings of the batches.
        clips: clips of each split, "train" and "heldout".
        tracker: where metrics and files are logged; in the first process alone.
        bad_files: broken clips so far.
        alignment: benchmark of understanding.
        generation: benchmark of generation.
    """

    run_dir: Path
    seed: int
    trainer: Trainer
    accelerator: Accelerator
    model: VideoLanguageModel
    optimiser: torch.optim.Optimizer
    scheduler: Any
    ema: Ema | None
    source: DataSource
    loader: LoaderSettings
    clips: dict[str, Sequence[Clip]]
    tracker: Tracker
    bad_files: BadFiles
    alignment: Alignment
    generation: Generation

    @property
    def is_main(self) -> bool:
        """Whether this is the first process, which writes the run folder and the store."""
        return self.accelerator.is_main_process

    @property
    def best(self) -> Best:
        return Best(self.run_dir / "checkpoints", metric=self.trainer.best_by, mode=self.trainer.best_is)

    @property
    def rate(self) -> float:
        """Frames a second at which made videos take as long as their clips."""
        frames = self.model.decoder.num_frames if isinstance(self.model.decoder, Decoder) else 1
        return min(max(frames * self.source.rate / self.source.clip.num_frames, RATES[0]), RATES[1])

    def evaluate(self, *, whole: bool) -> Results:
        """The benchmarks on the held-out clips, in the precision of the training, of the averaged weights if any.

        `whole`: all clips are made videos of, instead of generation.clips_while_training.
        """
        with ExitStack() as stack:
            # Its lengths grow token by token, which compiled code is not made for.
            stack.enter_context(eager(self.trainer.compile))
            if self.ema:
                stack.enter_context(self.ema.swapped())
            # After the average is in its place: what is put together is what is there.
            stack.enter_context(self.trainer.parallel.whole(self.model))
            results = evaluate_model(
                self.alignment,
                self.generation,
                self.model,
                self.source,
                self.clips["heldout"],
                loader=self.loader,
                precision=self.accelerator.autocast,
                whole=whole,
                examples=SHEET_CLIPS,
            )
        self.bad_files.add(results.bad)
        self.bad_files.check()
        return results

    def evaluate_step(self, step: int) -> None:
        """An evaluation while training: its metrics and samples go to the store, under names that do not change."""
        results = self.evaluate(whole=False)
        if not self.is_main:
            return
        self.tracker.metrics(results.metrics(), step)
        log.info("step %d\n%s", step, results.table())
        folder = self.run_dir / "samples" / f"step-{step:08d}"
        results.write_samples(folder, fps=self.rate)
        self.tracker.artifact(folder, f"samples/{folder.name}")
        self.best.consider(step, results.metrics())


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
        run_dir: run folder to write; a new one below `outputs` where None. A resumed run keeps its own.
        overrides: overrides that the configuration was composed with, for the record.
        sweep_dir: folder of the sweep that the run is part of.

    Returns:
        The figures of `summary.json`.

    Raises:
        UserError: a mistake that the user can correct.
        Stopped: SIGINT or SIGTERM; the run was saved.
    """
    check(config)
    began = time.time()
    trainer: Trainer = build(config.trainer)
    accelerator = trainer.accelerator()
    if trainer.compile:
        check_compiler(accelerator.device)
    run_dir, resumes = choose_folder(config, run_dir)
    run, missing = build_run(config, run_dir, trainer, accelerator)
    with Interrupt() as interrupt, opened(run, config, resumes, overrides or [], sweep_dir) as start:
        leave_out(run, missing)
        figures = describe_run(run.model, run.source, run.clips)
        batches = training_batches(
            trainer=trainer,
            model=run.model,
            source=run.source,
            loader=run.loader,
            clips=run.clips["train"],
            seed=run.seed,
            start=start,
        )
        progress = fit(run, batches, start=start, interrupt=interrupt)
        figures |= training_figures(run, progress)
        if progress.stopped_by is not None:
            write_stopped(run, figures)
            raise Stopped(run_dir, progress.stopped_by)
        results = run.evaluate(whole=True)
        figures |= final_figures(run, results, began=began)
        finish(run, results, figures)
    return figures


def choose_folder(config: DictConfig, run_dir: Path | None) -> tuple[Path, bool]:
    """The run folder, the same in all processes, and whether its run is resumed.

    Raises:
        UserError: the folder holds a run that is not to be resumed, or the run to resume cannot be.
    """
    resumed = run_to_resume(config)
    chosen = resumed or run_dir or Path(config.outputs) / "runs" / time.strftime("%Y-%m-%d_%H-%M-%S")
    # Clocks and folders are looked at by each process, and may have changed in between.
    chosen, resumes = gathered((chosen, resumed is not None))[0]
    if not resumes and has_checkpoint(chosen):
        resume = command(override("resume", shown(chosen)))
        raise UserError(f"{shown(chosen)} holds a run already: go on with it by {resume}, or name another folder.")
    return chosen, resumes


def build_run(
    config: DictConfig, run_dir: Path, trainer: Trainer, accelerator: Accelerator
) -> tuple[TrainingRun, list[tuple[str, str]]]:
    """The run of a configuration, before its first step, and the (path, reason) of held-out files that are missing."""
    # The model first: missing weights are reported before any clip is generated.
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
    clips, missing = prepare_clips(source, model.objective, alignment, generation)
    tracker: Tracker = build(config.tracking) if accelerator.is_main_process else NoTracker()
    trainer.parallel.place(model, accelerator)
    optimiser = build_optimiser(config, model)
    total = len(source.all_clips("train")) + len(source.all_clips("heldout")) + len(source.bad)
    run = TrainingRun(
        run_dir=run_dir,
        seed=config.seed,
        trainer=trainer,
        accelerator=accelerator,
        model=model,
        optimiser=optimiser,
        scheduler=build_scheduler(config, optimiser),
        ema=None if trainer.ema_decay is None else Ema(model, decay=trainer.ema_decay),
        source=source,
        loader=loader,
        clips=clips,
        tracker=tracker,
        bad_files=BadFiles(clips=total, max_fraction=loader.max_bad_fraction),
        alignment=alignment,
        generation=generation,
    )
    return run, missing


@contextmanager
def opened(
    run: TrainingRun, config: DictConfig, resumes: bool, overrides: list[str], sweep_dir: Path | None
) -> Iterator[Start]:
    """The run folder and the store, open for as long as the run trains; yields where it starts.

    Raises:
        UserError: another process trains in the folder, or the checkpoint to resume does not fit.
    """
    known_run = read_status(run.run_dir).get("mlflow_run_id") if resumes else None
    run.run_dir.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        if run.is_main:
            stack.enter_context(occupied(run.run_dir))
        # Before the new configuration is written: where this is refused, the run stays as it was.
        start = restore(run, allowed=config.resume.allow) if resumes else Start(step=0, samples=0)
        if run.is_main:
            stack.enter_context(recorded(run.tracker, run.run_dir))
            open_run(run.run_dir, config, overrides)
        run.tracker.start(
            run.run_dir,
            OmegaConf.to_container(config, resolve=True),  # type: ignore[arg-type]
            overrides,
            config.name or run_name(overrides),
            sweep_dir / "mlflow_parent.json" if sweep_dir and (sweep_dir / "mlflow_parent.json").is_file() else None,
            known_run,
        )
        if run.is_main:
            write_status(run.run_dir, "running", run.tracker.run_id, run.tracker.uri)
        yield start


def leave_out(run: TrainingRun, missing: list[tuple[str, str]]) -> None:
    """Note the clips that are known to be broken before the first step; refuse too many missing files."""
    run.bad_files.add([*run.source.bad.items(), *missing])
    if missing:
        run.bad_files.check()
