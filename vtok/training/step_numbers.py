"""Losses and norms of optimiser steps, which stay on the device until they are read."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from vtok.common.distributed import summed_tensor
from vtok.common.errors import UserError

# A run that is resumed without a change repeats its steps exactly.
OTHER_RATE = (
    "Resume from the last checkpoint with a lower rate: resume=RUN optimiser.lr=... 'resume.allow=[optimiser.lr]', "
    "or start anew with a higher scheduler.num_warmup_steps."
)


def add_losses(
    losses: dict[str, Tensor], parts: Mapping[str, Tensor], weights: Mapping[str, float], *, processes: int
) -> None:
    """Add a micro-batch's part to the losses of the step, on the device, in float64."""
    for name, loss in parts.items():
        part = loss.detach().double() * weights.get(name, 1.0) / processes
        losses[name] = losses[name] + part if name in losses else part


class StepNumbers:
    """The losses and gradient norms of the steps since the last `read`.

    A step only starts a sum over the processes. It does not wait for the device, so a step whose loss is not finite is
    found at the next `read`, which must come before anything is saved.
    """

    def __init__(self) -> None:
        self._steps: list[tuple[int, tuple[str, ...], Tensor]] = []

    def add(self, losses: Mapping[str, Tensor], norm: Tensor, *, step: int) -> None:
        """Add a step: its losses, summed over all processes, and its gradient's norm. All processes must call it."""
        total = summed_tensor(torch.stack(list(losses.values())))
        self._steps.append((step, (*losses, "grad_norm"), torch.cat([total, norm.detach().to(total).reshape(1)])))

    def read(self) -> list[dict[str, float]]:
        """The numbers of each step since the last call, by name. It waits for the device once.

        Raises:
            UserError: the loss of a step or the norm of its gradient is not finite; raised by all processes.
        """
        if not self._steps:
            return []
        values = iter(torch.cat([numbers for _, _, numbers in self._steps]).tolist())
        found = [(step, {name: next(values) for name in names}) for step, names, _ in self._steps]
        self._steps.clear()
        for step, numbers in found:
            if not (math.isfinite(numbers["loss"]) and math.isfinite(numbers["grad_norm"])):
                raise UserError(
                    f"step {step}: the loss is {numbers['loss']} and its gradient's norm {numbers['grad_norm']}. "
                    f"The weights after it were not saved. {OTHER_RATE}"
                )
        return [numbers for _, numbers in found]
