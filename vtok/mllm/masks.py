"""Masks and positions of a sequence of embeddings, as transformers takes them."""

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
