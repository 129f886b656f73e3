"""The metrics of a run: sizes before the first step, results after the last one, and the files they are written to."""

import inspect
import logging
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import vtok
from vtok.backbone import Backbone
from vtok.backbone.cached import CachedBackbone
from vtok.common.flops import flops_from_shapes
from vtok.common.foreign_files import encodable
from vtok.common.overrides import command
from vtok.data import Clip, DataSource
from vtok.data.sources.base import SPLITS, Split
from vtok.evaluation.answers import write_answers
from vtok.evaluation.results import Results
from vtok.model import VideoLanguageModel
from vtok.runs.answered import ANSWERS, VALIDATION_ANSWERS
from vtok.runs.folder import shown, write_status, write_summary
from vtok.tracking.revision import revision
from vtok.training.checkpoint import checkpoint_of
from vtok.training.loop import Progress
from vtok.training.model_tensors import digest, persistent_buffers, saved_tensors
from vtok.training.training_run import TrainingRun

log = logging.getLogger("vtok")

# Side of images in pixels from which a run names the setting that makes them smaller.
LARGE_IMAGE = 384
# The metric of the tensors that the first process has allocated on its GPU, of a run on GPUs.
GPU_MEMORY = "peak_gpu_memory_mb"


def describe_run(model: VideoLanguageModel, source: DataSource, clips: dict[Split, Sequence[Clip]]) -> dict[str, Any]:
    """The metrics known before the first step: numbers of tokens and parameters, which are also logged."""
    planner = model.tokeniser.planner
    tokens = planner.num_tokens(planner.max_frames(source.clip.num_frames))
    parts = {
        "backbone": model.tokeniser.backbone,
        "mllm": model.mllm,
        "projector": model.projector,
        "visual_head": model.visual_head,
        "decoder": model.decoder,
    }
    # With cached features the backbone's weights are not loaded, but its parameters count as frozen.
    backbone = model.tokeniser.backbone
    not_loaded = backbone.num_parameters if isinstance(backbone, CachedBackbone) else 0
    counts = {f"parameters/{name}": sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    counts["parameters/backbone"] += not_loaded
    counts["parameters/tokeniser"] = (
        sum(p.numel() for p in model.tokeniser.parameters()) + not_loaded - counts["parameters/backbone"]
    )
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = not_loaded + sum(p.numel() for p in model.parameters() if not p.requires_grad)
    log.info(
        "%s on %s; %d training, %d validation and %d test clips; %d tokens a clip of %d frames; %s parameters trained, "
        "%s frozen",
        type(model.tokeniser).__name__, source.describe(), *(len(clips[split]) for split in SPLITS),
        tokens, source.clip.num_frames, f"{trained:,}", f"{frozen:,}",
    )  # fmt: skip
    if not isinstance(backbone, CachedBackbone):
        encoded = model.tokeniser.num_encoded(planner.max_frames(source.clip.num_frames))
        log.info("%s", backbone_cost(backbone, frames=encoded))
    sizes = {"tokens_per_clip": tokens, "parameters/trained": trained, "parameters/frozen": frozen}
    return counts | sizes | code_version()


def backbone_cost(backbone: Backbone, *, frames: int) -> str:
    """What a clip costs of which `frames` frames go through the backbone, and a hint where its images are large."""
    size, places = backbone.image_size, backbone.own_map_size**2
    try:
        cost = f"{frames * flops_from_shapes(backbone, (1, 3, size, size)) / 1e9:.3g} GFLOP a clip"
    except RuntimeError:
        # A backbone of the user's own may look at values, which the meta device does not have.
        cost = "operations that cannot be counted from shapes"
    text = f"backbone: {frames} frames a clip, {size} x {size} pixels, {places:,} places, {cost}"
    if size >= LARGE_IMAGE and "image_size" in inspect.signature(type(backbone)).parameters:
        text += ". A smaller backbone.image_size costs less: half of it is a quarter of the places"
    return text


def code_version() -> dict[str, str]:
    """The git commit of the running code, as `commit`; empty if it is not under git."""
    code = revision(Path(vtok.__file__).parent)
    if code.commit is None:
        return {}
    return {"commit": f"{code.commit} with uncommitted changes" if code.changes else code.commit}


def training_metrics(run: TrainingRun, progress: Progress) -> dict[str, Any]:
    """The metrics known after the last step; all processes must call it."""
    metrics = {
        "steps": progress.steps,
        "seconds_per_step": progress.seconds_per_step,
        "data/bad_files": run.bad_files.count,
        "digest/trained": digest(saved_tensors(run.model)),
    }
    if run.ema:
        metrics["digest/ema"] = digest(run.ema.state() | persistent_buffers(run.model))
    return metrics


def final_metrics(run: TrainingRun, results: Results, *, began: float) -> dict[str, Any]:
    """The metrics known after the last evaluation. `began`: time at which the run began."""
    score = {} if results.alignment is None else {"evaluation/score": results.alignment.score}
    on_gpu = run.accelerator.device.type == "cuda"
    memory = {GPU_MEMORY: torch.cuda.max_memory_allocated(run.accelerator.device) / 2**20} if on_gpu else {}
    return results.metrics() | {
        **score,
        **memory,
        "data/bad_files": run.bad_files.count,
        "seconds": time.time() - began,
        "peak_memory_mb": peak_memory_mb(),
    }


def write_stopped(run: TrainingRun, metrics: dict[str, Any]) -> None:
    """Write the summary and status of a run that a signal stopped."""
    if run.is_main:
        write_summary(run.run_dir, metrics)
        write_status(run.run_dir, "stopped", run.tracker.run_id, run.tracker.uri)


def finish(run: TrainingRun, results: Results, metrics: dict[str, Any]) -> None:
    """Write and log the results of a finished run."""
    if not run.is_main:
        return
    write_summary(run.run_dir, metrics)
    sheets = results.write_sheets(run.run_dir)
    write_answers(results.answers, run.run_dir / ANSWERS)
    answers = [file for name in (ANSWERS, VALIDATION_ANSWERS) if (file := run.run_dir / name).is_file()]
    numbers = {name: float(value) for name, value in metrics.items() if isinstance(value, int | float)}
    run.tracker.metrics(numbers, metrics["steps"])
    for file in (run.run_dir / "summary.json", *answers, *sheets, run.run_dir / "train.log"):
        run.tracker.artifact(file, "")
    if results.has_videos:
        results.write_samples(run.run_dir / "samples" / "last", fps=run.rate)
        run.tracker.artifact(run.run_dir / "samples" / "last", "samples/last")
    write_status(run.run_dir, "finished", run.tracker.run_id, run.tracker.uri)
    log_results(run, results, sheets, metrics)
    run.tracker.log_model(run.run_dir, metrics["steps"])


def log_results(run: TrainingRun, results: Results, sheets: Sequence[Path], metrics: dict[str, Any]) -> None:
    """Log the metrics of a finished run, its files, and commands to use it."""
    log.info("\n%s\n", results.table())
    if metrics["data/bad_files"]:
        log.info(
            "%d broken clips were left out; their names are in %s", metrics["data/bad_files"], run.run_dir / "train.log"
        )
    log.info(
        "%d steps, %.2f s a step, %.0f s in total, peak host memory %.0f MB%s",
        metrics["steps"], metrics["seconds_per_step"], metrics["seconds"], metrics["peak_memory_mb"],
        f", peak GPU memory {metrics[GPU_MEMORY]:.0f} MB" if GPU_MEMORY in metrics else "",
    )  # fmt: skip
    log.info("run folder:   %s", shown(run.run_dir))
    if (best := run.best.read()) is not None:
        log.info(
            "best checkpoint: %s (%s %.4g). Test metrics are of the last step.",
            shown(checkpoint_of(run.best.folder, best[0])), run.best.metric, best[1],
        )  # fmt: skip
    for sheet in sheets:
        log.info("%-13s %s", f"{sheet.stem.replace('_', ' ')}:", shown(sheet))
    for line in run.tracker.describe():
        log.info("%s", line)
    this_run = command(f"run={shown(run.run_dir)}")
    if results.alignment is not None:
        log.info('try:          vtok describe %s video=FILE prompt="describe the video."', this_run)
    if results.has_videos:
        log.info('try:          vtok generate %s prompt="a red circle moves left."', this_run)


def peak_memory_mb() -> float:
    """Peak host memory of this process in MB; macOS reports bytes, Linux kilobytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform == "darwin" else most / 2**10


def run_name(overrides: list[str]) -> str | None:
    """The name of a run: its main overrides; None if there are none, so that MLflow invents a name."""
    return encodable(" ".join(main_overrides(overrides)))[:200] or None


def main_overrides(overrides: list[str]) -> list[str]:
    """The overrides that define the experiment, without those that only say where it is stored."""
    storage = ("hydra", "outputs", "tracking", "resume")
    return [item for item in overrides if not item.lstrip("+~").startswith(storage)]
