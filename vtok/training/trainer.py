"""The settings of the training loop (config group `trainer`)."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

from vtok.common.processes import started_processes
from vtok.common.setting_types import Count, CountOrZero, Fraction, FractionBelowOne, Positive
from vtok.training.distributed import check_launch, check_number, connect_gpus
from vtok.training.parallel import Parallel
from vtok.training.precision import mixed_precision


@dataclass(frozen=True)
class Trainer:
    """Settings of the training loop (`vtok.training.loop`).

    Args:
        parallel: way in which processes share the model.
        max_steps: number of optimiser steps.
        accumulate: batches whose gradients are added up for one optimiser step.
        clip_norm: gradient norm above which gradients are scaled down.
        ema_decay: evaluate a moving average of the weights over about 1 / (1 - ema_decay) steps; null: no average.
        precision: auto: bf16 if the device supports it.
        deterministic: use only operations that give the same result in each run on the same GPU, which are slower; one
            that has no such version stops the run.
        compile: torch.compile the blocks of backbone, language model and decoder; the first steps are slow.
        device: auto: a GPU if there is one.
        processes: number that torchrun or accelerate launch must have started; null: any.
        questions_per_clip: number of questions about a clip in a training batch; null: all of them.
        yes_no_share: probability of each yes-or-no question about a category that also has others, in [0, 1].
        log_every: optimiser steps between two logged lines.
        evaluate_every: optimiser steps between two evaluations on validation clips; 0: only test clips, at the end.
        save_every: optimiser steps between two checkpoints; 0: only at the end and before each evaluation.
        keep_checkpoints: number of the newest checkpoints that are kept.
        best_by: validation metric, such as validation/alignment/motion_direction, whose best checkpoint is kept too.
        best_is: whether the highest or the lowest `best_by` is best.
        stop_loss: stop when the running mean of the loss is below this; null: never.
        peak_tflops: peak speed of the device in TFLOP/s (an H100 in bf16: 989), to log train/tflops and train/mfu.
        profile_steps: number of steps of the first process that torch's profiler traces; 0: none.
        progress: show a progress bar.
    """

    parallel: Parallel
    max_steps: Count = 900
    accumulate: Count = 1
    clip_norm: Positive = 1.0
    ema_decay: FractionBelowOne | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    deterministic: bool = False
    compile: bool = False
    device: Literal["auto", "cpu"] = "auto"
    processes: Count | None = None
    questions_per_clip: Count | None = None
    yes_no_share: Fraction = 1.0
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

    @property
    def uses_gpu(self) -> bool:
        """Whether the model is trained on a GPU."""
        return self.device != "cpu" and torch.cuda.is_available()

    def accelerator(self) -> Accelerator:
        """The accelerator with the device and precision of the settings.

        Raises:
            UserError: the device does not support bf16, or the processes were started in a wrong way.
        """
        on_cpu = not self.uses_gpu
        mixed = mixed_precision(self.precision, on_cpu=on_cpu)
        # Accelerate has one state for each process, and the jobs of a sweep in one process may differ in precision.
        AcceleratorState._reset_state(reset_partial_state=True)
        # An evaluation keeps processes waiting for each other longer than a step does.
        timeout = timedelta(hours=1)
        patience = InitProcessGroupKwargs(timeout=timeout)
        # See `Ddp`.
        no_buffers = DistributedDataParallelKwargs(broadcast_buffers=False)
        # Without a GPU, Accelerate uses several processes only with cpu=True.
        cpu = self.device == "cpu" or (on_cpu and started_processes() > 1)
        check_launch()
        if not on_cpu:
            connect_gpus(timeout)
        accelerator = Accelerator(mixed_precision=mixed, cpu=cpu, kwargs_handlers=[patience, no_buffers])
        check_number(accelerator.num_processes, wanted=self.processes)
        self.parallel.check(accelerator.num_processes)
        return accelerator
