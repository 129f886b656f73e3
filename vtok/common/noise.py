"""Random numbers that follow from a seed alone."""

from collections.abc import Sequence

import torch
from torch import Tensor


def seeded_noise(shape: Sequence[int], seeds: Sequence[int], *, like: Tensor) -> Tensor:
    """Standard normal float32 (len(seeds), *shape) where `like` is, each row from its seed alone.

    Drawn on the CPU, so that it is the same on every device and in every batch.
    """
    rows = [torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows).to(like.device)
