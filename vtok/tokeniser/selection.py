"""Patches to tokens, as numbers: which token each patch of a clip belongs to.

`numbers` (B, P) give for each of the P patches the number of its token, 1 to k, or 0 where the patch is dropped.
"""

import torch
from torch import Tensor


def keep_best(scores: Tensor, there: Tensor, wanted: Tensor) -> Tensor:
    """Numbers (B, P) that keep the patches of the highest scores, each as a token, in the order of the patches.

    Of equal scores the first patch is kept.

    Args:
        scores: (B, P).
        there: (B, P), False where a shorter clip was padded.
        wanted: (B,), number of patches to keep, at most those that are there.
    """
    kept = ranks(scores.masked_fill(~there, -torch.inf)) < wanted.unsqueeze(1)
    return torch.where(kept, kept.cumsum(1), 0)


def ranks(scores: Tensor) -> Tensor:
    """The rank of each score along the last dimension, from 0 for the highest; equal scores in their order."""
    return scores.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)


def totals(numbers: Tensor, values: Tensor, tokens: int) -> Tensor:
    """The sum (B, tokens) or (B, tokens, C) over each token's patches; values (B, P) or (B, P, C)."""
    index = numbers if values.dim() == 2 else numbers.unsqueeze(2).expand_as(values)
    sums = values.new_zeros(len(values), tokens + 1, *values.shape[2:])
    return sums.scatter_add(1, index, values)[:, 1:]


def in_order(numbers: Tensor, *, side: int, tokens: int) -> Tensor:
    """`numbers` (B, P) again, counted by time, then row, then column of the tokens' centres.

    Centres are compared as exact fractions of whole numbers, so that a clip has the same order in any batch.

    Args:
        numbers: of patches that follow each other frame by frame, row by row.
        side: patches a side of a frame.
        tokens: largest number.
    """
    patch = torch.arange(numbers.shape[1], device=numbers.device).expand_as(numbers)
    count = totals(numbers, torch.ones_like(numbers), tokens)
    order = torch.arange(tokens, device=numbers.device).expand_as(count)
    # Sorted by the least important key first.
    for key in (patch % side, patch // side % side, patch // side**2):
        # Tokens of padding have no patches and come last.
        mean = (totals(numbers, key, tokens).double() / count).nan_to_num(torch.inf)
        order = order.gather(1, mean.gather(1, order).argsort(dim=1, stable=True))
    return renumber(numbers, order.argsort(dim=1) + 1)


def renumber(numbers: Tensor, new: Tensor) -> Tensor:
    """`numbers` (B, P), where token n has the new number `new[:, n - 1]` (B, tokens)."""
    return torch.cat([torch.zeros_like(new[:, :1]), new], dim=1).gather(1, numbers)
