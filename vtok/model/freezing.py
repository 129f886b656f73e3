"""What no loss reaches is not trained.

It would be counted as trained, and processes that exchange gradients would wait in vain for one of it.
"""

from torch import nn

from vtok.decoder import Decoder
from vtok.mllm import LanguageModel
from vtok.model.objective import Objective


def freeze_unreached(
    objective: Objective, *, mllm: LanguageModel, visual_head: nn.Module, decoder: Decoder | nn.Module
) -> None:
    """Freeze the weights that no loss of the objective reaches. All that is before the language model is reached.

    Raises:
        UserError: the decoder is to be conditioned on a layer that the language model does not have.
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
    mllm.freeze_unread(layers=sorted(layers), logits=objective.understands)
