"""The learning-rate schedule."""

from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from vtok.common.setting_types import CountOrZero

# transformers' other schedules need further arguments, or a metric at every step.
Name = Literal[
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"
]


def schedule(
    optimizer: Optimizer, num_training_steps: int, *, name: Name = "cosine", num_warmup_steps: CountOrZero = 40
) -> LRScheduler:
    """Linear warm-up, then one of transformers' schedules; a schedule with an end reaches it at the last step.

    Args:
        optimizer: optimiser whose learning rates are scheduled.
        num_training_steps: number of the last step.
        name: name of the schedule, as in transformers' `SchedulerType`.
        num_warmup_steps: optimiser steps of the linear warm-up.
    """
    from transformers import get_scheduler

    return get_scheduler(name, optimizer, num_warmup_steps=num_warmup_steps, num_training_steps=num_training_steps)
