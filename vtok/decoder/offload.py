"""Parts of a model that wait on the CPU until it is their turn."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def at_work(part: nn.Module, device: torch.device) -> Iterator[None]:
    """A frozen part, on the device for as long as it is used and on the CPU afterwards."""
    try:
        part.to(device)
        yield
    finally:
        part.to("cpu")


@contextmanager
def in_turns(pipeline: Any, device: torch.device) -> Iterator[None]:
    """diffusers' model CPU offload of a pipeline: one of its parts at a time is on the device; none is afterwards."""
    if device.type == "cpu":
        yield
        return
    try:
        pipeline.enable_model_cpu_offload(device=device)
        yield
    finally:
        # The parts are used without the pipeline, too.
        pipeline.remove_all_hooks()
        pipeline.to("cpu", silence_dtype_warnings=True)


def place(model: nn.Module, device: torch.device | str, *, waiting: Sequence[nn.Module]) -> None:
    """Move a model to a device, but for those of its parts that are `waiting`."""
    held = {module for part in waiting for module in part.modules()}
    for module in model.modules():
        if module not in held:
            # What `Module.to` does to a module, without what lies below it.
            module._apply(lambda tensor: tensor.to(device), recurse=False)
