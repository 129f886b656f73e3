"""Freezing the weights that get no gradient from any loss.

They would be counted as trained, and DDP would wait for their gradients forever.
"""

from torch import nn

from vtok.decoder import Decoder
from vtok.mllm import LanguageModel
from vtok.model.objective import Objective
from vtok.model.place_encoder import PlaceEncoder


def freeze_unused(
    objective: Objective,
    *,
    mllm: LanguageModel,
    places: PlaceEncoder | None,
    visual_head: nn.Module,
    decoder: Decoder | nn.Module,
) -> None:
    """Freeze the weights that get no gradient. All weights of the tokeniser and of phi_vis get one.

    Raises:
        UserError: the decoder is conditioned on a layer that the language model does not have.
    """
    layers = set()
    if objective.lambda_visLM:
        layers.add(-1)
    else:
        visual_head.requires_grad_(False)
    if objective.lambda_dec and isinstance(decoder, Decoder):
        mllm.check_layer(decoder.condition_layer, key="decoder.condition_layer")
        layers.add(decoder.condition_layer)
    else:
        decoder.requires_grad_(False)
    if places is not None and not objective.understands:
        places.requires_grad_(False)
    mllm.freeze_without_gradient(layers=sorted(layers), logits=objective.understands)
