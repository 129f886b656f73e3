"""Branches: texts about one video in one row, none of which sees another (see `ChatTokeniser.encode_branches`)."""

from inspect import signature

import torch
from torch import Tensor
from transformers import PreTrainedModel


def reads_branches(model: PreTrainedModel) -> bool:
    """Whether a model can read branches: all its layers attend to all tokens, by a mask, and positions can be given."""
    config = model.config.get_text_config()
    # A window or ALiBi would count tokens of other branches.
    counting = ("sliding_window", "attention_types", "alibi")
    return (
        set(getattr(config, "layer_types", None) or ()) <= {"full_attention"}
        and not any(getattr(config, name, None) for name in counting)
        and model.config._attn_implementation in ("sdpa", "eager")
        and "position_ids" in signature(model.base_model.forward).parameters
    )


def mask_and_positions(branch: Tensor, embeddings: Tensor, *, attention: str | None) -> tuple[Tensor, Tensor]:
    """The mask (B, 1, N, N) and the position ids (B, N) with which a model reads each branch as if it were alone.

    A token sees the tokens before it in its own branch and in branch 0, and itself. Its position is the number of
    tokens that it sees before itself.

    Args:
        branch: (B, N), number of the branch of each token.
        embeddings: (B, N, D), whose type the mask has unless it is of True and False.
        attention: transformers' implementation of attention. Only PyTorch's own, "sdpa", takes True and False; the
            others add the mask to the logits of attention.
    """
    seen = (branch.unsqueeze(1) == branch.unsqueeze(2)) | (branch == 0).unsqueeze(1)
    seen = seen & torch.ones_like(seen[0]).tril()
    # Padding has any position that every model has.
    positions = (seen.sum(-1) - 1).masked_fill(branch < 0, 0)
    pairs = seen.unsqueeze(1)
    if attention == "sdpa":
        return pairs, positions
    hidden = torch.finfo(embeddings.dtype).min
    return torch.zeros_like(pairs, dtype=embeddings.dtype).masked_fill(~pairs, hidden), positions
