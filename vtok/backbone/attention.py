"""How much attention each place of a feature map receives."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any

from torch import Tensor, nn

from vtok.common.errors import UserError


def feature_attention(maps: Tensor) -> Tensor:
    """The attention (N, h, w) that each place receives in a layer without weights: softmax(f f^T / sqrt(C)).

    It is averaged over the places that attend. The features (N, C, h, w) are queries and keys.
    """
    features = maps.flatten(2).mT.float()
    weights = (features @ features.mT / features.shape[2] ** 0.5).softmax(2)
    return weights.mean(1).unflatten(1, maps.shape[-2:])


def received_attention(weights: Tensor, *, leading: int, size: int) -> Tensor:
    """The attention (N, size, size) that patches receive: from the class token, or from all patches if there is none.

    Args:
        weights: (N, heads, L, L) of a vision transformer, in the rows the tokens that attend.
        leading: number of tokens before those of the patches, the first of them the class token.
        size: patches a side.
    """
    mean = weights.float().mean(1)
    from_token = mean[:, 0] if leading else mean.mean(1)
    return from_token[:, leading:].unflatten(1, (size, size))


def transformer_layers(model: Any) -> nn.ModuleList:
    """The layers of a vision transformer of transformers; an empty list if they are not one list."""
    lists = [
        one
        for one in model.modules()
        if isinstance(one, nn.ModuleList) and len(one) == model.config.num_hidden_layers > 0
    ]
    return lists[0] if len(lists) == 1 else nn.ModuleList()


def drop_layers_above(model: Any, index: int) -> None:
    """Drop the layers above a hidden state except one: transformers norms the last hidden state of some models."""
    layers = transformer_layers(model)
    if index + 1 < len(layers):
        del layers[index + 1 :]
        model.config.num_hidden_layers = index + 1


@contextmanager
def recorded_attention(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Collects the attention weights (N, heads, L, L) that a layer of transformers computes within the context.

    Only this layer computes them as a matrix; the others keep their faster kernels, which do not give them.

    Raises:
        UserError: the layer has no attention whose weights can be read.
    """
    found: list[Any] = [one for one in layer.modules() if hasattr(one, "config") and hasattr(one, "is_causal")]
    if len(found) != 1:
        raise UserError(
            f"tokeniser: it reads the backbone's attention, which {type(layer).__name__} does not give. "
            "Use backbone=clip, or another tokeniser."
        )
    (attention,) = found
    recorded: list[Tensor] = []
    config = attention.config
    attention.config = copy(config)
    attention.config._attn_implementation = "eager"
    handle = attention.register_forward_hook(lambda module, inputs, outputs: recorded.append(outputs[1]))
    try:
        yield recorded
    finally:
        handle.remove()
        attention.config = config
