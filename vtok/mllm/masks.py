"""Masks and positions of a sequence of embeddings, as transformers takes them."""

import torch
from torch import Tensor


def position_ids(attention_mask: Tensor) -> Tensor:
    """Position ids (B, N), counted over tokens that are not padding."""
    return (attention_mask.long().cumsum(1) - 1).clamp(min=0)


def readable_mask(mask: Tensor, embeddings: Tensor) -> Tensor:
    """A mask (B, N) of embeddings (B, N, D) as transformers takes it.

    It reads the values of a mask over tokens. Tensors on the meta device have none, so there it is (B, 1, N, N).
    """
    batch, number = mask.shape
    return embeddings.new_zeros(batch, 1, number, number) if mask.is_meta else mask.long()


def branch_mask(branch: Tensor) -> Tensor:
    """Which tokens each token sees, (B, N, N): those before it, and itself, in its own branch and in branch 0.

    Args:
        branch: (B, N), see `EncodedChat`.
    """
    seen = (branch.unsqueeze(1) == branch.unsqueeze(2)) | (branch == 0).unsqueeze(1)
    return seen & torch.ones_like(seen[0]).tril()


def readable_pairs(seen: Tensor, embeddings: Tensor, *, attention: str | None) -> Tensor:
    """A mask (B, N, N) of pairs of tokens as transformers' implementation `attention` takes it, (B, 1, N, N).

    Only PyTorch's own attention takes True and False. The others add the mask to the attention's logits.
    """
    pairs = seen.unsqueeze(1)
    if attention == "sdpa":
        return pairs
    hidden = torch.finfo(embeddings.dtype).min
    return torch.zeros_like(pairs, dtype=embeddings.dtype).masked_fill(~pairs, hidden)
