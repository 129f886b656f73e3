"""The parts of a training run, and its evaluation."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from vtok.data import BadFiles, Clip, DataSource, LoaderSettings
from vtok.data.clip import VALIDATION
from vtok.data.sources.base import Split
from vtok.data.video.write import RATES
from vtok.decoder import Decoder
from vtok.evaluation import Alignment, Generation
from vtok.evaluation.answers import write_answers
from vtok.evaluation.results import Results, evaluate_model
from vtok.model import VideoLanguageModel
from vtok.runs.answered import VALIDATION_ANSWERS
from vtok.tracking import Tracker
from vtok.training.best_checkpoint import BestCheckpoint
from vtok.training.compile import eager
from vtok.training.ema import Ema
from vtok.training.trainer import Trainer

log = logging.getLogger("vtok")

SHEET_CLIPS = 12


@dataclass(frozen=True)
class TrainingRun:
    """The parts of a run.

    Attributes:
        run_dir: run folder.
        seed: seed of the order of the clips and of the random choices for each of them.
        trainer: settings of the loop.
        accelerator: device, precision and processes.
        model: model, placed on the device.
        optimiser: optimiser of the trained parameters.
        scheduler: schedule of its learning rate.
        ema: moving average of the trained weights, if there is one.
        source: source of the clips.
        loader: settings of the batches.
        clips: clips of each split.
        evaluated: held-out splits that are evaluated: the test split, and the validation split if something is chosen.
        tracker: tracker of metrics and files; only the first process logs.
        bad_files: count of broken clips so far.
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
    clips: dict[Split, Sequence[Clip]]
    evaluated: Sequence[Split]
    tracker: Tracker
    bad_files: BadFiles
    alignment: Alignment
    generation: Generation

    @property
    def is_main(self) -> bool:
        """Whether this is the first process, which writes the run folder and the store."""
        return self.accelerator.is_main_process

    @property
    def best(self) -> BestCheckpoint:
        return BestCheckpoint(self.run_dir / "checkpoints", metric=self.trainer.best_by, mode=self.trainer.best_is)

    @property
    def rate(self) -> float:
        """Frames per second at which generated videos are as long as their clips."""
        frames = self.model.decoder.num_frames if isinstance(self.model.decoder, Decoder) else 1
        return min(max(frames * self.source.rate / self.source.clip.num_frames, RATES[0]), RATES[1])

    def evaluate(self, split: Split) -> Results:
        """Run the benchmarks on held-out clips, with the averaged weights if any, in the precision of the training.

        Args:
            split: "test", or "validation": then videos are generated for only generation.clips_while_training clips.
        """
        with ExitStack() as stack:
            # Generation grows token by token, and each length would be compiled anew.
            stack.enter_context(eager(self.trainer.compile))
            if self.ema:
                stack.enter_context(self.ema.swapped())
            # After the swap, so that the averaged weights are gathered.
            stack.enter_context(self.trainer.parallel.unsharded(self.model))
            results = evaluate_model(
                self.alignment,
                self.generation if split == "test" else self.generation.while_training(),
                self.model,
                self.source,
                self.clips[split],
                loader=self.loader,
                precision=self.accelerator.autocast,
                examples=SHEET_CLIPS,
            )
        self.bad_files.add(results.bad)
        self.bad_files.check()
        return results

    def validate(self, step: int) -> dict[str, float]:
        """Evaluate on validation clips, and log metrics and samples under the same names at every step.

        Returns:
            The metrics, by names that begin with `validation/`.
        """
        results = self.evaluate("validation")
        metrics = {f"{VALIDATION}{name}": value for name, value in results.metrics().items()}
        if not self.is_main:
            return metrics
        self.tracker.metrics(metrics, step)
        log.info("step %d, validation clips\n%s", step, results.table())
        write_answers(results.answers, self.run_dir / VALIDATION_ANSWERS)
        folder = self.run_dir / "samples" / f"step-{step:08d}"
        results.write_samples(folder, fps=self.rate)
        self.tracker.artifact(folder, f"samples/{folder.name}")
        self.best.update(step, metrics)
        return metrics
