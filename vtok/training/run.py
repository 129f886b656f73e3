"""A training run: from a configuration to a run folder with a trained and evaluated model."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from omegaconf import DictConfig, OmegaConf

from vtok.common.distributed import gathered
from vtok.config.check import check
from vtok.data import BadFiles, DataSource, LoaderSettings
from vtok.data.sources.base import HELD_OUT, SPLITS, Split
from vtok.evaluation import Alignment, Generation
from vtok.model.build import build, build_model, build_optimiser, build_scheduler
from vtok.runs.folder import open_run, read_status, write_status
from vtok.tracking import Tracker
from vtok.tracking.none import NoTracker
from vtok.training.batches import training_batches
from vtok.training.clips import prepare_clips
from vtok.training.compile import check_compiler
from vtok.training.determinism import deterministic_operations
from vtok.training.distributed import set_up_process
from vtok.training.ema import Ema
from vtok.training.interrupt import Interrupt
from vtok.training.loop import Start, run_loop
from vtok.training.resume import refuse_used_folder, restore, run_to_resume
from vtok.training.run_log import Stopped, lock_and_log, record_outcome
from vtok.training.summary import describe_run, final_metrics, finish, run_name, training_metrics, write_stopped
from vtok.training.trainer import Trainer
from vtok.training.training_run import TrainingRun


def train(
    config: DictConfig,
    *,
    run_dir: Path | None = None,
    overrides: list[str] | None = None,
    sweep_dir: Path | None = None,
) -> dict[str, Any]:
    """Train, evaluate and write a run folder, as `python train.py` does.

    Args:
        config: configuration from `vtok.config.compose`.
        run_dir: run folder to write; None: a new one in `outputs`. A resumed run keeps its folder.
        overrides: overrides that the configuration was composed with, to be saved in the run folder.
        sweep_dir: folder of the sweep that the run is part of.

    Returns:
        The metrics in `summary.json`.

    Raises:
        UserError: the user made a mistake.
        Stopped: SIGINT or SIGTERM stopped the run, which was saved.
    """
    check(config)
    began = time.time()
    trainer: Trainer = build(config.trainer)
    accelerator = trainer.accelerator()
    if trainer.compile:
        check_compiler(accelerator.device)
    run_dir, resumes = choose_folder(config, run_dir, in_sweep=sweep_dir is not None)
    run, missing = build_run(config, run_dir, trainer, accelerator)
    with (
        deterministic_operations(trainer.deterministic),
        Interrupt() as interrupt,
        open_run_folder(run, config, resumes, overrides or [], sweep_dir) as start,
    ):
        count_missing(run, missing)
        metrics = describe_run(run.model, run.source, run.clips)
        batches = training_batches(
            trainer=trainer,
            model=run.model,
            source=run.source,
            loader=run.loader,
            clips=run.clips["train"],
            seed=run.seed,
            start=start,
        )
        progress = run_loop(run, batches, start=start, interrupt=interrupt)
        metrics |= training_metrics(run, progress)
        if progress.stopped_by is not None:
            write_stopped(run, metrics)
            raise Stopped(run_dir, progress.stopped_by)
        if "validation" in run.evaluated:
            metrics |= run.validate(progress.steps)
        results = run.evaluate("test")
        metrics |= final_metrics(run, results, began=began)
        finish(run, results, metrics)
    return metrics


def choose_folder(config: DictConfig, run_dir: Path | None, *, in_sweep: bool) -> tuple[Path, bool]:
    """The run folder, the same in all processes, and whether its run is resumed.

    Raises:
        UserError: the folder has a run that `resume` does not select, or the selected run cannot be resumed.
    """
    resumed = run_to_resume(config)
    chosen = resumed or run_dir or Path(config.outputs) / "runs" / time.strftime("%Y-%m-%d_%H-%M-%S")
    # The first process decides: clocks and folders may change between the processes' calls.
    chosen, resumes = gathered((chosen, resumed is not None))[0]
    if not resumes:
        refuse_used_folder(chosen, config, in_sweep=in_sweep)
    return chosen, resumes


def build_run(
    config: DictConfig, run_dir: Path, trainer: Trainer, accelerator: Accelerator
) -> tuple[TrainingRun, list[tuple[str, str]]]:
    """The run of a configuration before its first step, and the (label, reason) of clips of missing held-out files."""
    # The model first: missing weights are reported before any clip is generated.
    model = build_model(config)
    set_up_process(accelerator, seed=config.seed, sharing=trainer.parallel.name)
    alignment: Alignment = build(config.evaluation)
    generation: Generation = build(config.generation)
    if model.decodes:
        generation.judge.prepare()
    source: DataSource = build(config.data)
    loader: LoaderSettings = build(config.loader)
    with accelerator.main_process_first():
        source.prepare()
    evaluated = evaluated_splits(config)
    clips, missing = prepare_clips(
        source, model.tokeniser.planner, model.objective, alignment, generation, evaluated=evaluated
    )
    tracker: Tracker = build(config.tracking) if accelerator.is_main_process else NoTracker()
    trainer.parallel.place(model, accelerator)
    optimiser = build_optimiser(config, model)
    total = sum(len(source.clips(split)) for split in SPLITS) + len(unlisted(source))
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
        evaluated=evaluated,
        tracker=tracker,
        bad_files=BadFiles(clips=total, max_fraction=loader.max_bad_fraction),
        alignment=alignment,
        generation=generation,
    )
    return run, missing


def unlisted(source: DataSource) -> Mapping[str, str]:
    """What the data set left out before any clip was read; nothing if a limit leaves out most of its clips as well."""
    return source.bad if all(len(source.clips(split)) == len(source.all_clips(split)) for split in SPLITS) else {}


def evaluated_splits(config: DictConfig) -> Sequence[Split]:
    """The held-out splits that a run evaluates: validation too, if a checkpoint or a setting is chosen by it."""
    return HELD_OUT if config.trainer.evaluate_every or config.optimise else ("test",)


@contextmanager
def open_run_folder(
    run: TrainingRun, config: DictConfig, resumes: bool, overrides: list[str], sweep_dir: Path | None
) -> Iterator[Start]:
    """A context in which the run folder and the store are open; yields the point where the run starts.

    Raises:
        UserError: another process trains in the folder, or the checkpoint does not fit.
    """
    known_run = read_status(run.run_dir).get("mlflow_run_id") if resumes else None
    run.run_dir.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        if run.is_main:
            stack.enter_context(lock_and_log(run.run_dir))
        # Before the new configuration is written: if the checkpoint does not fit, the run folder does not change.
        start = restore(run, allowed=config.resume.allow) if resumes else Start(step=0, samples=0)
        if run.is_main:
            stack.enter_context(record_outcome(run.tracker, run.run_dir))
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


def count_missing(run: TrainingRun, missing: list[tuple[str, str]]) -> None:
    """Count the clips that are known to be broken before the first step; raise UserError if too many are missing."""
    run.bad_files.add([*unlisted(run.source).items(), *missing])
    if missing:
        run.bad_files.check()
