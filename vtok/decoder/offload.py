"""Modules that stay on the CPU until they are used."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def on_device(part: nn.Module, device: torch.device) -> Iterator[None]:
    """Keep a frozen module on the device within the block, and on the CPU afterwards."""
    try:
        part.to(device)
        yield
    finally:
        part.to("cpu")


@contextmanager
def in_turns(pipeline: Any, device: torch.device) -> Iterator[None]:
    """diffusers' model CPU offload of a pipeline: one module at a time is on the device, and none afterwards."""
    if device.type == "cpu":
        yield
        return
    try:
        pipeline.enable_model_cpu_offload(device=device)
        yield
    finally:
        # The modules are used without the pipeline as well.
        pipeline.remove_all_hooks()
        pipeline.to("cpu", silence_dtype_warnings=True)


def place(model: nn.Module, device: torch.device | str, *, offloaded: Sequence[nn.Module]) -> None:
    """Move a model to a device, except its `offloaded` modules."""
    held = {module for part in offloaded for module in part.modules()}
    for module in model.modules():
        if module not in held:
            # What `Module.to` does to a module, without its children.
            module._apply(lambda tensor: tensor.to(device), recurse=False)
