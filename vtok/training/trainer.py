"""The loop."""

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs
from tqdm import tqdm

from vtok.batch import Batch
from vtok.data import BadFiles
from vtok.errors import UserError
from vtok.model import VideoLanguageModel
from vtok.processes import gathered, local
from vtok.tracking import Tracker
from vtok.training.best import Best
from vtok.training.checkpoint import save_checkpoint, saved_tensors
from vtok.training.compiling import compile_blocks, eager
from vtok.training.ema import Ema
from vtok.training.interrupt import Interrupt
from vtok.training.meter import Meter, Stopwatch, count_flops, count_tokens
from vtok.training.parallel import Parallel
from vtok.training.processes import Share, started_processes, totals
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
    """Settings of the loop, and the loop: `fit`. The option's YAML says what each setting means."""

    max_steps: int
    accumulate: int
    clip_norm: float
    ema_decay: float | None
    precision: str
    compile: bool
    device: str
    processes: int | None
    questions_per_clip: int | None
    yes_no_share: float
    log_every: int
    evaluate_every: int
    save_every: int
    keep_checkpoints: int
    best_by: str | None
    best_is: str
    stop_loss: float | None
    peak_tflops: float | None
    profile_steps: int
    progress: bool
    parallel: Parallel

    def accelerator(self) -> Accelerator:
        """Device and precision as the settings say.

        Raises:
            UserError: bf16 was asked for and the device has none, or the processes cannot share a model as they are to.
        """
        on_cpu = self.device == "cpu" or not torch.cuda.is_available()
        has_bf16 = not on_cpu and torch.cuda.is_bf16_supported()
        if self.precision == "bf16" and not on_cpu and not has_bf16:
            raise UserError("trainer.precision=bf16: this device has no bf16; say trainer.precision=fp32.")
        mixed = "bf16" if self.precision == "bf16" or (self.precision == "auto" and has_bf16) else "no"
        # Accelerate keeps one state a process, and the jobs of a sweep share a process but not their precision.
        AcceleratorState._reset_state(reset_partial_state=True)
        # An evaluation keeps processes waiting for each other longer than a step does.
        patience = InitProcessGroupKwargs(timeout=timedelta(hours=1))
        # Where there is no GPU, Accelerate starts several processes only when it is told to use none.
        cpu = self.device == "cpu" or (on_cpu and started_processes() > 1)
        accelerator = Accelerator(mixed_precision=mixed, cpu=cpu, kwargs_handlers=[patience])
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
                micro, own = self._take(batches, interrupt)
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
                    started = time.perf_counter()
                    watch.begin()
                losses = self._step(accelerator, trained, optimiser, parameters, micro, whole, step, watch)
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

    def _take(self, batches: Iterator[Batch], interrupt: Interrupt) -> tuple[list[Batch], Share]:
        """The micro-batches of a step, and what the other processes have to know of them."""
        try:
            micro = [] if interrupt.signal else [next(batches) for _ in range(self.accumulate)]
        except UserError as error:
            return [], Share(counts=[], bad=[], signal=None, mistake=str(error))
        bad = [one for batch in micro for one in batch.bad]
        return micro, Share(counts=[batch.counts() for batch in micro], bad=bad, signal=interrupt.signal)

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
