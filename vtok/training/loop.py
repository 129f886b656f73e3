"""The training loop: optimiser steps, and between them logging, checkpoints and evaluations."""

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from vtok.common.distributed import gathered, local
from vtok.common.errors import UserError
from vtok.model.batch import Batch
from vtok.model.objective import ACCURACY
from vtok.training.checkpoint import save_checkpoint
from vtok.training.compile import compile_blocks, eager
from vtok.training.interrupt import Interrupt
from vtok.training.metrics import Meter, Stopwatch, count_flops, count_tokens
from vtok.training.model_tensors import saved_tensors
from vtok.training.profile import profiler
from vtok.training.random_state import random_states
from vtok.training.step_batches import combine_reports, take_batches
from vtok.training.step_numbers import OTHER_RATE, StepNumbers, add_losses
from vtok.training.training_run import TrainingRun

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """The point where a run starts or resumes.

    Attributes:
        step: number of optimiser steps done.
        samples: number of clips that all processes have trained on.
        loss: running mean of the loss; inf: not known.
    """

    step: int
    samples: int
    loss: float = math.inf


@dataclass(frozen=True)
class Progress:
    """The progress at the end of the loop.

    Attributes:
        steps: number of optimiser steps done.
        seconds_per_step: median duration of a step.
        stopped_by: number of the signal that stopped the run, if any.
    """

    steps: int
    seconds_per_step: float
    stopped_by: int | None


def run_loop(run: TrainingRun, batches: Iterator[Batch], *, start: Start, interrupt: Interrupt) -> Progress:
    """Train `run.model`, which `parallel` has placed on its device, from `start` to `trainer.max_steps`.

    Saves a checkpoint at the end, every `save_every` steps, before an evaluation, and when a signal stops the run.
    A step waits for the device only where its losses are read: when it is logged or followed by a checkpoint, and in
    every step with `stop_loss`.

    Raises:
        UserError: the loss, its gradient or a weight is not finite, or too many clips are broken.
    """
    settings, parallel, accelerator, model = run.trainer, run.trainer.parallel, run.accelerator, run.model
    device, processes = accelerator.device, accelerator.num_processes
    if settings.compile:
        compile_blocks(model)
    trained, optimiser = parallel.prepare(accelerator, model, run.optimiser)
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    watch = Stopwatch(device)
    meter = Meter(watch, peak_tflops=settings.peak_tflops, loss=start.loss)
    numbers = StepNumbers()
    step, samples, saved = start.step, start.samples, start.step
    signal: int | None = None
    model.train()
    with progress_bar(run, step) as bar, profiler(settings.profile_steps, run.run_dir, is_main=run.is_main) as profile:
        while step < settings.max_steps:
            meter.begin_step()
            micro, own = take_batches(batches, settings.accumulate, model=model, interrupt=interrupt)
            watch.lap("data")
            report = combine_reports(own)
            if (signal := report.signal) is not None:
                break
            run.bad_files.add(report.bad)
            run.bad_files.check()
            if settings.peak_tflops and not meter.flops:
                meter.flops = step_flops(run, micro)
                meter.begin_step()
            if report.unmeasured:
                measure_scale(run, micro)

            losses: dict[str, Tensor] = {}
            for number, batch in enumerate(micro):
                weights = loss_weights(batch, report.counts, processes=processes)
                # Processes exchange gradients once a step, with the last micro-batch.
                with parallel.gradient_sync(accelerator, trained, last=number == len(micro) - 1):
                    parts = trained(batch.to(device), weights)
                    watch.lap("forward")
                    accelerator.backward(parts["loss"])
                    watch.lap("backward")
                add_losses(losses, parts, weights, processes=processes)
            norm = parallel.clip(accelerator, parameters, settings.clip_norm)
            numbers.add(losses, norm, step=step + 1)
            optimiser.step()
            optimiser.zero_grad()
            watch.lap("optimiser")
            run.scheduler.step()
            model.end_step(discard=report.unmeasured)
            if run.ema:
                run.ema.update()
                watch.lap("ema")

            step += 1
            profile.step()
            # All processes have batches of about the same size. Exact counts are not worth another message.
            clips = processes * sum(len(batch) for batch in micro)
            tokens = processes * sum(count_tokens(batch) for batch in micro)
            samples += clips
            logs = is_due(settings.log_every, step) or step == settings.max_steps
            evaluates = is_due(settings.evaluate_every, step) and step < settings.max_steps
            # Also before an evaluation, so that its failure loses no training.
            saves = evaluates or is_due(settings.save_every, step)
            reads = logs or saves or settings.stop_loss is not None
            meter.add(numbers.read() if reads else [], tokens=tokens, clips=clips)
            bar.update()
            if logs:
                log_step(run, step, meter, bar)
            watch.lap("logging")
            if settings.stop_loss is not None and meter.loss < settings.stop_loss:
                log.info("step %d: the loss %.4f is below trainer.stop_loss=%g.", step, meter.loss, settings.stop_loss)
                break
            if saves:
                save(run, step=step, samples=samples, loss=meter.loss)
                saved = step
            if evaluates:
                run.validate(step)
                model.train()
    if saved != step:
        meter.add_losses(numbers.read())
        save(run, step=step, samples=samples, loss=meter.loss)
    if step > start.step:
        log.info("time of the steps: %s", meter.time_shares())
    return Progress(steps=step, seconds_per_step=meter.seconds_per_step, stopped_by=signal)


def is_due(every: int, step: int) -> bool:
    """Whether an event that happens every `every` steps happens at `step`; 0: never."""
    return every > 0 and step % every == 0


def loss_weights(batch: Batch, totals: Mapping[str, int], *, processes: int) -> dict[str, float]:
    """The factor of each loss of a micro-batch, and of its accuracy, by which tokens or clips of a step weigh the same.

    Args:
        batch: micro-batch on the CPU.
        totals: number of items that each loss is a mean over, in the micro-batches of all processes.
        processes: number of processes, over which gradients are averaged.
    """
    weights = {name: processes * count / max(1, totals[name]) for name, count in batch.counts().items()}
    return {**weights, ACCURACY: weights["under"]}


def measure_scale(run: TrainingRun, micro: list[Batch]) -> None:
    """Measure the scale of the tokens of a step before the step; usually only needed for the first one."""
    with run.trainer.parallel.unsharded(run.model), run.accelerator.autocast():
        for batch in micro:
            run.model.measure(batch.to(run.accelerator.device))
    run.model.end_step()


def step_flops(run: TrainingRun, micro: list[Batch]) -> int:
    """Number of floating-point operations of a step, estimated from its first micro-batch."""
    with eager(run.trainer.compile):
        flops = count_flops(run.model, micro[0].to(run.accelerator.device), run.accelerator)
        run.model.end_step(discard=True)
    return len(micro) * flops


def progress_bar(run: TrainingRun, step: int) -> "tqdm[None]":
    """A progress bar in the first process, if standard error is a terminal and the settings allow it."""
    return tqdm(
        total=run.trainer.max_steps,
        initial=step,
        desc="training",
        unit="step",
        disable=None if run.trainer.progress and run.is_main else True,
    )


def log_step(run: TrainingRun, step: int, meter: Meter, bar: "tqdm[None]") -> None:
    """Log the means since the last call: in the progress bar, the store and the log file."""
    metrics = meter.metrics()
    bar.set_postfix_str(f"loss {metrics['train/loss']:.3f}, {metrics['train/samples_per_second']:.0f} clips/s")
    lr, steps = run.scheduler.get_last_lr()[0], run.trainer.max_steps
    run.tracker.metrics({**metrics, "train/lr": lr, "data/bad_files": run.bad_files.count}, step)
    level = logging.INFO if bar.disable else logging.DEBUG
    log.log(level, "step %d/%d: %s", step, steps, meter.line(lr=lr, steps_left=steps - step))


def save(run: TrainingRun, *, step: int, samples: int, loss: float) -> None:
    """Write the checkpoint of a step; all processes must call it.

    Raises:
        UserError: a tensor of the model is not finite; raised by all processes.
    """
    check_finite_tensors(run.model, step=step)
    states = gathered(random_states(run.accelerator.device))
    sharded = run.trainer.parallel.sharded
    if not (sharded or run.is_main):
        return
    save_checkpoint(
        run.run_dir / "checkpoints",
        model=run.model,
        optimiser=run.optimiser,
        step=step,
        samples=samples,
        loss=loss,
        keep=run.trainer.keep_checkpoints,
        keep_step=run.best.step,
        average=run.ema.state() if run.ema else None,
        random=states,
        sharded=sharded,
    )


def check_finite_tensors(model: torch.nn.Module, *, step: int) -> None:
    """Check the weights and buffers after step `step`, before they are saved; all processes must call it.

    Raises:
        UserError: one of them is infinite or NaN; raised by all processes.
    """
    here = [name for name, tensor in saved_tensors(model).items() if not torch.isfinite(local(tensor)).all()]
    if odd := sorted(set().union(*gathered(here))):
        raise UserError(
            f"step {step}: {len(odd)} tensors of the model are no longer finite, such as {odd[0]}, and were not saved. "
            f"{OTHER_RATE}"
        )
