"""Floating-point operations, counted by torch."""

from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

Shape = tuple[int, ...]


def _attention(query: Shape, key: Shape, value: Shape, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _attention_backward(
    grad: Shape, query: Shape, key: Shape, value: Shape, *_: Any, out_shape: Any = None, **__: Any
) -> int:
    return int(sdpa_backward_flop_count(grad, query, key, value))


# torch counts attention on GPUs, and leaves out what it runs on CPUs.
ATTENTION_ON_CPUS: dict[Any, Any] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def flop_counter() -> FlopCounterMode:
    """A context that counts operations: two for each multiplication of matrices, convolutions and attention.

    Used without gradients, torch's counter fails on parameters that are passed to modules.
    """
    return FlopCounterMode(display=False, custom_mapping=ATTENTION_ON_CPUS)


def flops_from_shapes(module: nn.Module, *shapes: Shape) -> int:
    """Number of operations of a forward pass on inputs of these shapes, on the meta device: nothing is computed."""
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    weights = {name: torch.empty_like(tensor, device="meta") for name, tensor in state.items()}
    inputs = tuple(torch.empty(shape, device="meta") for shape in shapes)
    with flop_counter() as counter:
        functional_call(module, weights, inputs)
    return int(counter.get_total_flops())
