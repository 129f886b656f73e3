"""The loop."""

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
from tqdm import tqdm

from vtok.common.distributed import gathered, local
from vtok.common.errors import UserError
from vtok.common.setting_types import Count, CountOrZero, Fraction, FractionBelowOne, Positive
from vtok.data import BadFiles
from vtok.model import VideoLanguageModel
from vtok.model.batch import Batch
from vtok.tracking import Tracker
from vtok.training.best_checkpoint import Best
from vtok.training.checkpoint import save_checkpoint, saved_tensors
from vtok.training.compile import compile_blocks, eager
from vtok.training.distributed import Share, check_number, started_processes, totals
from vtok.training.ema import Ema
from vtok.training.interrupt import Interrupt
from vtok.training.metrics import Meter, Stopwatch, count_flops, count_tokens
from vtok.training.parallel import Parallel
from vtok.training.precision import mixed_precision
from vtok.training.profile import profiler
from vtok.training.random_state import random_states

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """Where a run begins or goes on.

    Attributes:
        step: optimiser steps done.
        samples: clips that all processes together have trained on in them.
    """

    step: int
    samples: int


@dataclass(frozen=True)
class Progress:
    """How far a run came: optimiser steps done, the median seconds of one, and the signal that stopped it, if any."""

    steps: int
    seconds_per_step: float
    stopped_by: int | None


@dataclass(frozen=True)
class Trainer:
    """Settings of the loop, and the loop: `fit`.

    Args:
        parallel: how processes share the model.
        max_steps: number of optimiser steps.
        accumulate: batches whose gradients are added up for one optimiser step.
        clip_norm: gradient norm above which gradients are scaled down.
        ema_decay: evaluate a moving average of the weights over about 1 / (1 - ema_decay) steps; null: no average.
        precision: auto: bf16 where the device has it.
        compile: torch.compile the blocks of backbone, language model and decoder; the first steps are slow.
        device: auto: a GPU where there is one.
        processes: number that torchrun or accelerate launch must have started; null: any.
        questions_per_clip: questions of a clip in one training sequence; null: all of them.
        yes_no_share: how often a category is asked by its yes-or-no question, where it has another one too.
        log_every: optimiser steps between two logged lines.
        evaluate_every: optimiser steps between two evaluations; 0: only at the end.
        save_every: optimiser steps between two checkpoints; 0: only at the end.
        keep_checkpoints: number of the newest checkpoints that are kept.
        best_by: keep the best checkpoint too, by a metric of the evaluations, such as alignment/motion_direction.
        best_is: whether the best one has the greatest or the least `best_by`.
        stop_loss: stop once the loss stays below this; null: never.
        peak_tflops: peak speed of the device in TFLOP/s (an H100 in bf16: 989), to log train/tflops and train/mfu.
        profile_steps: number of steps traced by torch's profiler; 0: none.
        progress: show a progress bar.
    """

    parallel: Parallel
    max_steps: Count = 500
    accumulate: Count = 1
    clip_norm: Positive = 1.0
    ema_decay: FractionBelowOne | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False
    device: Literal["auto", "cpu"] = "auto"
    processes: Count | None = None
    questions_per_clip: Count | None = None
    yes_no_share: Fraction = 0.3
    log_every: Count = 10
    evaluate_every: CountOrZero = 0
    save_every: CountOrZero = 0
    keep_checkpoints: Count = 3
    best_by: str | None = None
    best_is: Literal["max", "min"] = "max"
    stop_loss: float | None = None
    peak_tflops: Positive | None = None
    profile_steps: CountOrZero = 0
    progress: bool = True

    def accelerator(self) -> Accelerator:
        """Device and precision as the settings say.

        Raises:
            UserError: bf16 was asked for and the device has none, or the processes cannot share a model as they are to.
        """
        on_cpu = self.device == "cpu" or not torch.cuda.is_available()
        mixed = mixed_precision(self.precision, on_cpu=on_cpu)
        # Accelerate keeps one state a process, and the jobs of a sweep share a process but not their precision.
        AcceleratorState._reset_state(reset_partial_state=True)
        # An evaluation keeps processes waiting for each other longer than a step does.
        patience = InitProcessGroupKwargs(timeout=timedelta(hours=1))
        # See `Ddp`.
        no_buffers = DistributedDataParallelKwargs(broadcast_buffers=False)
        # Where there is no GPU, Accelerate starts several processes only when it is told to use none.
        cpu = self.device == "cpu" or (on_cpu and started_processes() > 1)
        accelerator = Accelerator(mixed_precision=mixed, cpu=cpu, kwargs_handlers=[patience, no_buffers])
        check_number(accelerator.num_processes, wanted=self.processes)
        self.parallel.check(accelerator.num_processes)
        return accelerator

    def fit(
        self,
        *,
        accelerator: Accelerator,
        model: VideoLanguageModel,
        batches: Iterator[Batch],
        optimiser: torch.optim.Optimizer,
        scheduler: Any,
        ema: Ema | None,
        start: Start,
        tracker: Tracker,
        bad_files: BadFiles,
        evaluate: Callable[[int], None],
        best: Best,
        interrupt: Interrupt,
        run_dir: Path,
    ) -> Progress:
        """Train a model that `parallel` has placed, from `start` to `max_steps`.

        Saves at the end, at every `save_every`, and when the process is told to stop. `ema`, where there is one, takes
        every step's weights in, and is saved with them.

        Raises:
            UserError: the loss, its gradient or the weights to save are no longer finite, or too many files are broken.
        """
        if self.compile:
            compile_blocks(model)
        trained, optimiser = self.parallel.prepare(accelerator, model, optimiser)
        parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        watch = Stopwatch(accelerator.device)
        meter = Meter(watch, peak_tflops=self.peak_tflops)
        bar = tqdm(
            total=self.max_steps,
            initial=start.step,
            desc="training",
            unit="step",
            disable=None if self.progress and accelerator.is_main_process else True,
        )

        def save(step: int) -> None:
            check_finite(model, step=step)
            states = gathered(random_states(accelerator.device))
            if not (self.parallel.sharded or accelerator.is_main_process):
                return
            save_checkpoint(
                run_dir / "checkpoints",
                model=model,
                optimiser=optimiser,
                step=step,
                samples=samples,
                keep=self.keep_checkpoints,
                spare=best.step,
                average=ema.state() if ema else None,
                random=states,
                sharded=self.parallel.sharded,
            )

        step = saved = start.step
        samples = start.samples
        stopped_by: int | None = None
        model.train()
        with bar, profiler(self.profile_steps, run_dir) as profile:
            while step < self.max_steps:
                started = time.perf_counter()
                watch.begin()
                micro, own = self._take(batches, interrupt, model)
                watch.lap("data")
                shares = gathered(own)
                stopped_by = next((share.signal for share in shares if share.signal is not None), None)
                if stopped_by is not None:
                    break
                whole = totals(shares)
                for share in shares:
                    bad_files.add(share.bad)
                bad_files.check()
                if self.peak_tflops and not meter.flops:
                    with eager(self.compile):
                        one = micro[0].to(accelerator.device)
                        meter.flops = self.accumulate * count_flops(model, one, accelerator)
                        model.end_step(discard=True)
                    started = time.perf_counter()
                    watch.begin()
                unmeasured = any(share.unmeasured for share in shares)
                if unmeasured:
                    self._measure(accelerator, model, micro)
                losses = self._step(accelerator, trained, optimiser, parameters, micro, whole, step, watch)
                model.end_step(discard=unmeasured)
                scheduler.step()
                if ema:
                    ema.update()
                    watch.lap("ema")
                step += 1
                profile.step()
                # Processes read alike; to count the others' tokens is not worth another message.
                tokens = accelerator.num_processes * sum(count_tokens(batch) for batch in micro)
                clips = accelerator.num_processes * sum(len(batch.video.mask) for batch in micro)
                samples += clips
                meter.add(losses, tokens=tokens, clips=clips, seconds=time.perf_counter() - started)
                bar.update()
                if step % self.log_every == 0 or step == self.max_steps:
                    figures = meter.figures()
                    bar.set_postfix_str(
                        f"loss {figures['train/loss']:.3f}, {figures['train/tokens_per_second']:.0f} tokens/s, "
                        f"data {figures['train/time_data']:.0%}"
                    )
                    learning_rate = scheduler.get_last_lr()[0]
                    tracker.metrics({**figures, "train/lr": learning_rate, "data/bad_files": bad_files.count}, step)
                    log.log(logging.INFO if bar.disable else logging.DEBUG, "step %d: %s", step, meter.line())
                watch.lap("logging")
                if self.stop_loss is not None and meter.loss < self.stop_loss:
                    log.info("step %d: the loss %.4f is below trainer.stop_loss=%g.", step, meter.loss, self.stop_loss)
                    break
                if self.save_every and step % self.save_every == 0:
                    save(saved := step)
                if self.evaluate_every and step % self.evaluate_every == 0 and step < self.max_steps:
                    # Whatever goes wrong in an evaluation, the training is not lost.
                    if saved != step:
                        save(saved := step)
                    evaluate(step)
                    model.train()
        if saved != step:
            save(step)
        return Progress(steps=step, seconds_per_step=meter.seconds_per_step, stopped_by=stopped_by)

    def _measure(self, accelerator: Accelerator, model: VideoLanguageModel, micro: list[Batch]) -> None:
        """Let the model know the scale of the tokens of a step before it: in the first one, as a rule."""
        with self.parallel.whole(model), accelerator.autocast():
            for batch in micro:
                model.measure(batch.to(accelerator.device))
        model.end_step()

    def _take(
        self, batches: Iterator[Batch], interrupt: Interrupt, model: VideoLanguageModel
    ) -> tuple[list[Batch], Share]:
        """The micro-batches of a step, and what the other processes have to know of them."""
        try:
            micro = [] if interrupt.signal else [next(batches) for _ in range(self.accumulate)]
        except UserError as error:
            return [], Share(counts=[], bad=[], signal=None, mistake=str(error))
        bad = [one for batch in micro for one in batch.bad]
        unmeasured = any(model.is_unmeasured(batch) for batch in micro)
        counts = [batch.counts() for batch in micro]
        return micro, Share(counts=counts, bad=bad, signal=interrupt.signal, unmeasured=unmeasured)

    def _step(
        self,
        accelerator: Accelerator,
        model: torch.nn.Module,
        optimiser: torch.optim.Optimizer,
        parameters: list[torch.Tensor],
        micro: list[Batch],
        whole: dict[str, int],
        step: int,
        watch: Stopwatch,
    ) -> dict[str, float]:
        """One optimiser step over the micro-batches of all processes.

        Each thing that a loss is a mean over weighs the same in whatever batch it is; `whole` says how many there are.
        """
        total: dict[str, float] = {}
        processes = accelerator.num_processes
        for number, batch in enumerate(micro):
            # Times the processes, over which gradients are a mean.
            shares = {name: processes * count / max(1, whole[name]) for name, count in batch.counts().items()}
            # Processes exchange gradients once a step, with the last micro-batch.
            with self.parallel.exchanging(accelerator, model, last=number == len(micro) - 1):
                losses = model(batch.to(accelerator.device), shares)
                watch.lap("forward")
                accelerator.backward(losses["loss"])
                watch.lap("backward")
            for name, loss in losses.items():
                total[name] = total.get(name, 0.0) + float(loss.detach()) * shares.get(name, 1.0) / processes
        if processes > 1:
            others = gathered(total)
            total = {name: sum(other[name] for other in others) for name in total}
        norm = self.parallel.clip(accelerator, parameters, self.clip_norm)
        if not (math.isfinite(total["loss"]) and math.isfinite(norm)):
            raise UserError(
                f"step {step + 1}: the loss is {total['loss']} and its gradient's norm {norm}. "
                "No step was taken; lower optimiser.lr, lengthen scheduler.num_warmup_steps, "
                "or resume from the last checkpoint."
            )
        optimiser.step()
        optimiser.zero_grad()
        watch.lap("optimiser")
        return {**total, "grad_norm": norm}


def check_finite(model: torch.nn.Module, *, step: int) -> None:
    """Refuse to save a model whose weights or buffers step `step` has made overflow; all processes have to ask.

    Raises:
        UserError: one of them is infinite or not a number; raised by all processes.
    """
    here = [name for name, tensor in saved_tensors(model).items() if not torch.isfinite(local(tensor)).all()]
    if odd := sorted(set().union(*gathered(here))):
        raise UserError(
            f"step {step}: {len(odd)} tensors of the model are no longer finite after it, {odd[0]} among them. It was "
            "not saved; lower optimiser.lr, lengthen scheduler.num_warmup_steps, or resume from the last checkpoint."
        )
