"""FLOPs against their closed forms."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtok.backbone import Backbone, ClipBackbone, TinyBackbone
from vtok.common.flops import flop_counter, flops_from_shapes
from vtok.hub import toys


def test_attention_on_a_cpu_counts() -> None:
    """Two products of matrices, and in the backward pass five (one is computed again)."""
    heads, tokens, width = 2, 50, 16
    query, key, value = (torch.rand(1, heads, tokens, width, requires_grad=True) for _ in range(3))
    product = 2 * heads * tokens * tokens * width
    with flop_counter() as counter:
        attended = F.scaled_dot_product_attention(query, key, value)
    assert counter.get_total_flops() == 2 * product
    with flop_counter() as counter:
        attended.sum().backward()
    assert counter.get_total_flops() == 5 * product


@pytest.mark.parametrize("kind", ["tiny", "clip"])
def test_flops_from_shapes_are_those_of_a_real_frame(kind: str, tmp_path) -> None:
    toys.clip().save_pretrained(tmp_path)
    backbone: Backbone = TinyBackbone() if kind == "tiny" else ClipBackbone(weights=tmp_path)
    backbone.set_frozen(False)
    shape = (1, 3, backbone.image_size, backbone.image_size)
    with flop_counter() as counter:
        backbone(torch.rand(shape))
    assert flops_from_shapes(backbone, shape) == counter.get_total_flops() > 0
    assert all(parameter.device.type == "cpu" for parameter in backbone.parameters())


def test_a_convolution_has_two_operations_for_each_weight_and_place() -> None:
    backbone = TinyBackbone()
    convolutions = [layer for layer in backbone.modules() if isinstance(layer, nn.Conv2d)]
    sides = (32, 16, 8, 8, 8)
    by_hand = sum(2 * layer.weight.numel() * side**2 for layer, side in zip(convolutions, sides, strict=True))
    assert flops_from_shapes(backbone, (1, 3, 64, 64)) == by_hand


def test_a_module_of_several_inputs() -> None:
    class Product(nn.Module):
        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            return left @ right

    assert flops_from_shapes(Product(), (3, 4), (4, 5)) == 2 * 3 * 4 * 5
