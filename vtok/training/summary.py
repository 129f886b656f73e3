"""The figures of a run: sizes before the first step, metrics after the last, and the files they are written to."""

import logging
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import vtok
from vtok.backbone.cached import CachedBackbone
from vtok.common.foreign_files import encodable
from vtok.common.overrides import command
from vtok.data import Clip, DataSource
from vtok.evaluation.results import Results
from vtok.model import VideoLanguageModel
from vtok.runs.folder import shown, write_status, write_summary
from vtok.tracking import Tracker
from vtok.tracking.revision import revision
from vtok.training.model_tensors import digest, persistent_buffers, saved_tensors

if TYPE_CHECKING:
    from vtok.training.loop import Progress
    from vtok.training.run import TrainingRun

log = logging.getLogger("vtok")


def describe_run(model: VideoLanguageModel, source: DataSource, clips: dict[str, Sequence[Clip]]) -> dict[str, Any]:
    """What is known before the first step: sizes, told to the user too."""
    planner = model.tokeniser.planner
    tokens = planner.num_tokens(planner.max_frames(source.clip.num_frames))
    parts = {
        "backbone": model.tokeniser.backbone,
        "mllm": model.mllm,
        "projector": model.projector,
        "visual_head": model.visual_head,
        "decoder": model.decoder,
    }
    # Of a cached run the backbone's parameters are elsewhere, and frozen all the same.
    backbone = model.tokeniser.backbone
    elsewhere = backbone.num_parameters if isinstance(backbone, CachedBackbone) else 0
    counts = {f"parameters/{name}": sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    counts["parameters/backbone"] += elsewhere
    counts["parameters/tokeniser"] = (
        sum(p.numel() for p in model.tokeniser.parameters()) + elsewhere - counts["parameters/backbone"]
    )
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = elsewhere + sum(p.numel() for p in model.parameters() if not p.requires_grad)
    log.info(
        "%s on %s; %d training clips, %d held out; %d tokens a clip of %d frames; %s parameters trained, %s frozen",
        type(model.tokeniser).__name__, source.describe(), len(clips["train"]), len(clips["heldout"]),
        tokens, source.clip.num_frames, f"{trained:,}", f"{frozen:,}",
    )  # fmt: skip
    sizes = {"tokens_per_clip": tokens, "parameters/trained": trained, "parameters/frozen": frozen}
    return counts | sizes | code_version()


def code_version() -> dict[str, str]:
    """`commit`, of the code that runs; nothing where it is not under git."""
    code = revision(Path(vtok.__file__).parent)
    if code.commit is None:
        return {}
    return {"commit": f"{code.commit} with uncommitted changes" if code.changes else code.commit}


def training_figures(run: "TrainingRun", progress: "Progress") -> dict[str, Any]:
    """What is known after the last step; all processes have to call it."""
    figures = {
        "steps": progress.steps,
        "seconds_per_step": progress.seconds_per_step,
        "data/bad_files": run.bad_files.count,
        "digest/trained": digest(saved_tensors(run.model)),
    }
    if run.ema:
        figures["digest/ema"] = digest(run.ema.state() | persistent_buffers(run.model))
    return figures


def final_figures(run: "TrainingRun", results: Results, *, began: float) -> dict[str, Any]:
    """What is known after the last evaluation of a run that `began` at that time."""
    return results.metrics() | {
        "data/bad_files": run.bad_files.count,
        "seconds": time.time() - began,
        "peak_memory_mb": peak_memory_mb(),
    }


def write_stopped(run: "TrainingRun", figures: dict[str, Any]) -> None:
    """Write the end of a run that was asked to stop."""
    if run.is_main:
        write_summary(run.run_dir, figures)
        write_status(run.run_dir, "stopped", run.tracker.run_id, run.tracker.uri)


def finish(run: "TrainingRun", results: Results, figures: dict[str, Any]) -> None:
    """Write and log the end of a run."""
    if not run.is_main:
        return
    run.best.consider(figures["steps"], results.metrics())
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


def tell(results: Results, sheets: Sequence[Path], figures: dict[str, Any], run_dir: Path, tracker: Tracker) -> None:
    """The end of a run, for a person: the figures, and where everything lies."""
    log.info("\n%s\n", results.table())
    if figures["data/bad_files"]:
        log.info(
            "%d broken files were left out; their names are in %s", figures["data/bad_files"], run_dir / "train.log"
        )
    log.info(
        "%d steps, %.2f s a step, %.0f s in all, %.0f MB of memory at most",
        figures["steps"], figures["seconds_per_step"], figures["seconds"], figures["peak_memory_mb"],
    )  # fmt: skip
    log.info("run folder:   %s", shown(run_dir))
    for sheet in sheets:
        log.info("%-13s %s", f"{sheet.stem.replace('_', ' ')}:", shown(sheet))
    for line in tracker.describe():
        log.info("%s", line)
    run = command(f"run={shown(run_dir)}")
    if results.alignment is not None:
        log.info('try:          vtok describe %s video=FILE prompt="describe the video."', run)
    if results.has_videos:
        log.info('try:          vtok generate %s prompt="a red circle moves left."', run)


def peak_memory_mb() -> float:
    """The most memory that this process has held, in MB; macOS counts in bytes, Linux in kilobytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform == "darwin" else most / 2**10


def run_name(overrides: list[str]) -> str | None:
    """The overrides that say what a run is about; None, so that MLflow makes one up, where there are none."""
    return encodable(" ".join(told(overrides)))[:200] or None


def told(overrides: list[str]) -> list[str]:
    """The overrides that say what a run is about, without those on where it is kept."""
    elsewhere = ("hydra", "outputs", "tracking", "resume")
    return [item for item in overrides if not item.lstrip("+~").startswith(elsewhere)]
