"""A run while it goes on: what it is made of, and its evaluations."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator
from omegaconf import DictConfig

from vtok.data import BadFiles, Clip, DataSource, LoaderSettings
from vtok.data.video.write import RATES
from vtok.decoder import Decoder
from vtok.evaluation import Alignment, Generation
from vtok.evaluation.results import Results, evaluate_model
from vtok.model import VideoLanguageModel
from vtok.tracking import Tracker
from vtok.training.best_checkpoint import Best
from vtok.training.compile import eager
from vtok.training.ema import Ema
from vtok.training.loop import Trainer

log = logging.getLogger("vtok")

SHEET_CLIPS = 12


@dataclass(frozen=True)
class Run:
    """What a run is made of."""

    config: DictConfig
    run_dir: Path
    trainer: Trainer
    accelerator: Accelerator
    model: VideoLanguageModel
    ema: Ema | None
    source: DataSource
    loader: LoaderSettings
    clips: dict[str, Sequence[Clip]]
    tracker: Tracker
    bad_files: BadFiles
    alignment: Alignment
    generation: Generation

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

    def show(self, results: Results, step: int) -> None:
        """Figures and samples of an evaluation while training, into the store under names that do not change."""
        if not self.accelerator.is_main_process:
            return
        self.tracker.metrics(results.metrics(), step)
        log.info("step %d\n%s", step, results.table())
        folder = self.run_dir / "samples" / f"step-{step:08d}"
        results.write_samples(folder, fps=self.rate)
        self.tracker.artifact(folder, f"samples/{folder.name}")

    def judge(self, results: Results, step: int) -> None:
        """Note the checkpoint of the step where it is the best so far."""
        if self.accelerator.is_main_process:
            self.best.consider(step, results.metrics())

    @property
    def best(self) -> Best:
        return Best(self.run_dir / "checkpoints", metric=self.trainer.best_by, mode=self.trainer.best_is)

    @property
    def rate(self) -> float:
        """Frames a second at which made videos take as long as their clips."""
        frames = self.model.decoder.num_frames if isinstance(self.model.decoder, Decoder) else 1
        return min(max(frames * self.source.rate / self.source.clip.num_frames, RATES[0]), RATES[1])
